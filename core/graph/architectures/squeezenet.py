"""SqueezeNet 1.1.

Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", https://arxiv.org/abs/1602.07360;
version 1.1 is the authors' later release (forresti/SqueezeNet). Parameter names as in torchvision: features.0,
features.3.squeeze, features.3.expand1x1, features.3.expand3x3, ..., classifier.1. Pools round up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.graph.architectures.registry import Architecture, ArchitectureCard, Shapes, register


class Fire(nn.Module):
    """A 1x1 convolution, then 1x1 and 3x3 side by side, concatenated."""

    def __init__(self, channels_in: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels_in, squeezed, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """x: N, C, H, W -> N, 2 * expanded, H, W."""
        x = self.squeeze_activation(self.squeeze(x))
        small = self.expand1x1_activation(self.expand1x1(x))
        return torch.cat([small, self.expand3x3_activation(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """x: N, C, 224, 224 -> N, classes."""

    def __init__(self, channels: int = 3, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 3, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.flatten = nn.Flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores for each class."""
        scores: Tensor = self.flatten(self.classifier(self.features(x)))
        return scores


def _build(shapes: Shapes) -> nn.Module:
    return SqueezeNet(shapes["features.0.weight"][1], shapes["classifier.1.weight"][0])


register(
    Architecture(
        card=ArchitectureCard(
            id="squeezenet1_1",
            title="SqueezeNet 1.1",
            paper="https://arxiv.org/abs/1602.07360",
            input_shape=(3, 224, 224),
            parameter_names="torchvision: features.0, features.3.squeeze, features.3.expand1x1, ..., classifier.1",
        ),
        build=_build,
        first_layer="features.0.weight",
    )
)
