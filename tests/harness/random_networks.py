"""Networks of random shape: chains, branches, sums, concatenations, depthwise and transposed layers, many functions."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import torch
from torch import Tensor, fx, nn

from core.graph.build_inventory import build_inventory
from core.graph.loaded_model import LoadedModel

SHAPE = (3, 8, 8)
KINDS = ("conv", "depthwise", "pointwise", "grouped", "transposed", "residual", "branches", "pool", "average")
HOMOGENEOUS = ("relu", "leaky", "prelu", "none")
OTHERS = ("relu6", "sigmoid")


class Chain(nn.Module):
    """Parts one after another; `kinds` name them. Channels change as they go."""

    def __init__(self, kinds: list[str], activations: list[str], widths: list[int]) -> None:
        super().__init__()
        self.kinds, channels = kinds, SHAPE[0]
        self.parts = nn.ModuleList()
        for kind, activation, width in zip(kinds, activations, widths, strict=True):
            part, channels = _part(kind, activation, channels, width)
            self.parts.append(part)
        self.last, self.pool = nn.Conv2d(channels, 6, 1), nn.AdaptiveAvgPool2d(1)
        self.relu, self.flatten, self.classifier = nn.ReLU(), nn.Flatten(), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        for kind, part in zip(self.kinds, self.parts, strict=True):
            if kind == "residual":
                x = torch.add(x, part(x))
            elif kind == "branches":
                x = torch.cat([each(x) for each in part], 1)
            else:
                x = part(x)
        return self.classifier(self.flatten(self.pool(self.relu(self.last(x)))))


def _part(kind: str, activation: str, channels: int, width: int) -> tuple[nn.Module, int]:
    if kind in ("pool", "average"):
        return (nn.MaxPool2d(3, 1, 1) if kind == "pool" else nn.AvgPool2d(3, 1, 1)), channels
    if kind == "residual":
        inner = _layer(nn.Conv2d(channels, width, 1, bias=False), width, activation)
        return nn.Sequential(inner, _layer(nn.Conv2d(width, channels, 3, 1, 1), channels, "none")), channels
    if kind == "branches":
        left = _layer(nn.Conv2d(channels, width, 1), width, activation)
        return nn.ModuleList([left, _layer(nn.Conv2d(channels, 4, 3, 1, 1), 4, "relu")]), width + 4
    if kind == "depthwise":
        width = channels
    layers: dict[str, Callable[[], nn.Module]] = {
        "conv": lambda: nn.Conv2d(channels, width, 3, 1, 1, bias=False),
        "pointwise": lambda: nn.Conv2d(channels, width, 1),
        "depthwise": lambda: nn.Conv2d(channels, width, 3, 1, 1, groups=channels, bias=False),
        "grouped": lambda: nn.Conv2d(channels, width, 3, 1, 1, groups=_divisor(channels, width)),
        "transposed": lambda: nn.ConvTranspose2d(channels, width, 3, 1, 1, groups=_divisor(channels, width)),
    }
    return _layer(layers[kind](), width, activation), width


def _divisor(channels: int, width: int) -> int:
    return 2 if channels % 2 == 0 and width % 2 == 0 else 1


def _layer(layer: nn.Module, channels: int, activation: str) -> nn.Module:
    functions: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "leaky": lambda: nn.LeakyReLU(0.1),
        "prelu": lambda: nn.PReLU(channels),
        "relu6": nn.ReLU6,
        "sigmoid": nn.Sigmoid,
        "none": nn.Identity,
    }
    return nn.Sequential(layer, nn.BatchNorm2d(channels), functions[activation]())


def _shake(network: nn.Module, seed: int) -> None:
    """Uneven channels, dead ones, negative and zero gammas."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            module.weight.data = torch.randn(channels) * torch.randn(channels).exp()
            module.weight.data[torch.rand(channels) < 0.1] = 0
            module.bias.data, module.running_mean = torch.randn(channels), torch.randn(channels)
            module.running_var = torch.randn(channels).exp()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            rows = torch.randn(len(module.weight)).exp()
            module.weight.data *= rows.view(-1, 1, 1, 1)
            module.weight.data[torch.rand(len(module.weight)) < 0.1] = 0


def as_loaded(network: nn.Module, shape: tuple[int, int, int] = SHAPE) -> LoadedModel:
    """Traced, in eval mode."""
    traced = fx.symbolic_trace(network.eval())
    return LoadedModel(traced, build_inventory(traced, shape, "test"))


@st.composite
def networks(draw: st.DrawFn, others: tuple[str, ...] = OTHERS) -> LoadedModel:
    """Of one to five parts. `others`: activations that fix the scale."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
    count = len(kinds)
    activations = draw(st.lists(st.sampled_from(HOMOGENEOUS + others), min_size=count, max_size=count))
    widths = draw(st.lists(st.sampled_from([2, 4, 6]), min_size=count, max_size=count))
    seed = draw(st.integers(0, 2**31))
    torch.manual_seed(seed)
    network = Chain(kinds, activations, widths)
    _shake(network, seed)
    return as_loaded(network)


def random_images(count: int = 6, seed: int = 5) -> Tensor:
    """N, 3, 8, 8."""
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(seed))


def largest_difference(found: Tensor, exact: Tensor) -> float:
    """Relative to the largest value."""
    found, exact = found.detach(), exact.detach()
    return float((found - exact).abs().max() / exact.abs().max().clamp(min=1e-6))
