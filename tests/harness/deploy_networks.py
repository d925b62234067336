"""Small networks that hold what exports must get right, quantized without any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.graph.build_inventory import build_inventory
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.policy import LayerBits, Policy

SHAPE = (3, 12, 12)
IMAGES = 48


class Residual(nn.Module):
    """Sum with a shortcut that subsamples and pads channels; strided; a batch norm on every convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm, self.relu_stem = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        self.first, self.first_norm, self.relu = nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        self.second, self.second_norm = nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.max_pool, self.relu_sum, self.pool = nn.MaxPool2d(3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.flatten, self.classifier = nn.Flatten(), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.max_pool(self.relu_stem(self.stem_norm(self.stem(x))))
        y = self.second_norm(self.second(self.relu(self.first_norm(self.first(x)))))
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return self.classifier(self.flatten(self.pool(self.relu_sum(torch.add(y, shortcut)))))


class Depthwise(nn.Module):
    """An inverted residual whose bottleneck is signed, ReLU6, and a plain sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm, self.act0 = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU6()
        self.expand, self.expand_norm, self.act1 = nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
        self.depth, self.depth_norm = nn.Conv2d(12, 12, 3, 1, 1, groups=12, bias=False), nn.BatchNorm2d(12)
        self.act2, self.project, self.project_norm = nn.ReLU6(), nn.Conv2d(12, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.head, self.act3 = nn.Conv2d(6, 10, 1), nn.Hardswish()
        self.pool, self.flatten, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act0(self.stem_norm(self.stem(x)))
        y = self.act2(self.depth_norm(self.depth(self.act1(self.expand_norm(self.expand(x))))))
        x = torch.add(x, self.project_norm(self.project(y)))
        return self.classifier(self.flatten(self.pool(self.act3(self.head(x)))))


class Concat(nn.Module):
    """Branches that are concatenated, a batch norm that no layer can absorb, both kinds of pool, no biases."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(3, 6, (3, 5), 1, (1, 2), bias=False)
        self.relu_left, self.relu_right, self.norm = nn.ReLU(), nn.LeakyReLU(0.1), nn.BatchNorm2d(10)
        self.max_pool, self.middle = nn.MaxPool2d(3, 2, 1), nn.Conv2d(10, 8, 3, padding=2, dilation=2, groups=2)
        self.average, self.up = nn.AvgPool2d(2), nn.ConvTranspose2d(8, 6, 2, 2, bias=False)
        self.up_norm, self.sigmoid = nn.BatchNorm2d(6), nn.Sigmoid()
        self.flatten, self.classifier = nn.Flatten(), nn.Linear(6 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.cat([self.relu_left(self.left(x)), self.relu_right(self.right(x))], 1))
        x = self.average(self.middle(self.max_pool(x)))
        return self.classifier(self.flatten(self.sigmoid(self.up_norm(self.up(x)))))


class Sequence(nn.Module):
    """Linear layers over positions: three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix, self.act = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8, bias=False), nn.GELU()
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.permute(torch.reshape(self.patches(x), (-1, 8, 9)), (0, 2, 1))
        return self.classifier(torch.mean(self.act(self.mix(x)), [1], False))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "depthwise": Depthwise,
    "concat": Concat,
    "sequence": Sequence,
}


@dataclass
class Quantized:
    """A fake-quantized network and what it was made from."""

    loaded: LoadedModel
    policy: Policy
    model: fx.GraphModule
    images: Tensor  # N, C, H, W
    labels: Tensor  # N: what the quantized network itself predicts, so that its accuracy is 1

    @property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        return [(self.images[:20], self.labels[:20]), (self.images[20:], self.labels[20:])]


def load(name: str) -> LoadedModel:
    """Random weights; batch norms with statistics of their own and some negative gammas."""
    torch.manual_seed(7)
    network = NETWORKS[name]().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.weight.data[::3] *= -1
            nn.init.uniform_(module.bias, -0.3, 0.6)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.3, 1.2)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)
    with torch.inference_mode():
        network.classifier.bias -= network(make_images()).mean(0)  # every class is predicted for some image
    traced = fx.symbolic_trace(network)
    return LoadedModel(traced, build_inventory(traced, SHAPE, "test"))


def make_images() -> Tensor:
    """N, C, H, W: noise whose contrast and colour differ from image to image."""
    chance = torch.Generator().manual_seed(3)
    contrast = torch.randn((IMAGES, 1, 1, 1), generator=chance).exp()
    return torch.randn((IMAGES, *SHAPE), generator=chance) * contrast + torch.randn(
        (IMAGES, SHAPE[0], 1, 1), generator=chance
    )


def uniform_policy(
    loaded: LoadedModel, weights: int | tuple[int, ...], activations: int, residual_bits: int = 16
) -> Policy:
    """One width for all. A tuple of weight widths is repeated over each layer's channels."""

    def widths(channels: int) -> int | tuple[int, ...]:
        return weights if isinstance(weights, int) else tuple(weights[c % len(weights)] for c in range(channels))

    layers = {
        layer.name: LayerBits(weights=widths(_channels(layer.weight_shape, layer.kind)), activations=activations)
        for layer in loaded.inventory.layers
    }
    return Policy(layers=layers, residual_bits=residual_bits)


def _channels(shape: tuple[int, ...], kind: str) -> int:
    return shape[1 if kind == "conv_transpose2d" else 0]


@lru_cache
def _calibrated(name: str) -> tuple[LoadedModel, Tensor, Calibration]:
    """Nothing changes them: quantizing takes a copy."""
    loaded = load(name)
    images = make_images()
    return loaded, images, calibrate(loaded, [images])


def quantized(
    name: str,
    policy: Callable[[LoadedModel], Policy],
    method: str = "lsq",
    granularity: str = "channel",
    **settings: str,
) -> Quantized:
    """Calibrated on the images that are compared on."""
    loaded, images, calibration = _calibrated(name)
    chosen = policy(loaded)
    choice = QuantizerChoice(method=method, granularity=granularity, settings=settings)
    model = quantize(loaded, chosen, calibration, choice)
    with torch.inference_mode():
        labels = model(images).argmax(1)
    return Quantized(loaded, chosen, model, images, labels)
