"""MobileNetV2.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2, https://arxiv.org/abs/1801.04381.
Parameter names as in torchvision: features.0 is conv, bn; features.1..17 hold `conv`; features.18; classifier.1.
The width multiplier is read from features.1.conv.1, whose 16 channels at width 1 every multiplier scales.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.graph.architectures.registry import Architecture, ArchitectureCard, Shapes, register

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FIRST_WIDTH, LAST_WIDTH = 32, 1280
MULTIPLIERS = (0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.1, 1.2, 1.3, 1.4)


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels, 3x3 depthwise, 1x1 without activation; a sum where shapes agree."""

    def __init__(self, channels_in: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.adds = stride == 1 and channels_in == channels
        hidden = channels_in * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_convolution(channels_in, hidden, 1)]
        layers += [
            _convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: N, C, H, W."""
        y: Tensor = self.conv(x)
        return torch.add(x, y) if self.adds else y


class MobileNetV2(nn.Module):
    """x: N, C, 224, 224 -> N, classes."""

    def __init__(self, multiplier: float = 1.0, channels: int = 3, classes: int = 1000) -> None:
        super().__init__()
        width = _divisible(FIRST_WIDTH * multiplier)
        last = _divisible(LAST_WIDTH * max(1.0, multiplier))
        features: list[nn.Module] = [_convolution(channels, width, 3, 2)]
        for expansion, base, count, first_stride in STAGES:
            out = _divisible(base * multiplier)
            for position in range(count):
                features.append(InvertedResidual(width, out, first_stride if position == 0 else 1, expansion))
                width = out
        self.features = nn.Sequential(*features, _convolution(width, last, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Scores for each class."""
        scores: Tensor = self.classifier(self.flatten(self.avgpool(self.features(x))))
        return scores


def _convolution(channels_in: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(),
    )


def _divisible(width: float, divisor: int = 8) -> int:
    """The nearest multiple of 8, not more than a tenth smaller: the rule of the authors' TensorFlow code."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest


def _build(shapes: Shapes) -> nn.Module:
    classes, last = shapes["classifier.1.weight"]
    stem, channels = shapes["features.0.0.weight"][:2]
    out = shapes["features.2.conv.2.weight"][0]
    project = shapes["features.1.conv.1.weight"][0]
    return MobileNetV2(_multiplier(stem, project, out, last), channels, classes)


def _multiplier(stem: int, project: int, out: int, last: int) -> float:
    wanted = (stem, project, out, last)
    for multiplier in MULTIPLIERS:
        widths = (FIRST_WIDTH * multiplier, 16 * multiplier, 24 * multiplier, LAST_WIDTH * max(1.0, multiplier))
        if tuple(_divisible(width) for width in widths) == wanted:
            return multiplier
    return 1.0


register(
    Architecture(
        card=ArchitectureCard(
            id="mobilenetv2",
            title="MobileNetV2",
            paper="https://arxiv.org/abs/1801.04381",
            input_shape=(3, 224, 224),
            parameter_names="torchvision: features.0.0, features.1.conv.0.0, ..., features.18.0, classifier.1",
        ),
        build=_build,
        first_layer="features.0.0.weight",
    )
)
