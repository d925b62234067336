"""A small classifier of colour images whose batch norms saw data, as those of a trained network did."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from core.data.preprocessing import Preprocessing
from core.graph.build_inventory import build_inventory
from core.graph.loaded_model import LoadedModel

SHAPE = (3, 8, 8)
CLASSES = 4
PREPROCESSING = Preprocessing(mean=(0.5, 0.4, 0.6), std=(0.25, 0.2, 0.25))


class ColourNetwork(nn.Module):
    """Two convolutions with norms, a classifier; without norms on request."""

    def __init__(self, normalised: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, stride=2)
        self.first_norm: nn.Module = nn.BatchNorm2d(8) if normalised else nn.Identity()
        self.second_norm: nn.Module = nn.BatchNorm2d(8) if normalised else nn.Identity()
        self.relu_first, self.relu_second = nn.ReLU(), nn.ReLU()
        self.pool, self.flatten, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """N, 3, 8, 8 to N, 4."""
        x = self.relu_first(self.first_norm(self.first(x)))
        x = self.relu_second(self.second_norm(self.second(x)))
        return self.classifier(self.flatten(self.pool(x)))  # type: ignore[no-any-return]


def smooth_images(count: int) -> Tensor:
    """What the norms saw: large patches of one colour, unlike noise."""
    coarse = torch.randn(count, 3, 2, 2, generator=torch.Generator().manual_seed(5))
    return nn.functional.interpolate(coarse, scale_factor=4).clamp(-1.5, 1.5)


def colour_network(normalised: bool = True) -> LoadedModel:
    """The same weights at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = ColourNetwork(normalised)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        network.train()(smooth_images(256))
    traced = fx.symbolic_trace(network.eval())
    return LoadedModel(traced, build_inventory(traced, SHAPE, "test"))
