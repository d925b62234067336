"""MobileNetV1.

Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", table 1,
https://arxiv.org/abs/1704.04861. The width multiplier is read from the first layer.
Parameter names as in the PyTorch ports in use (marvis/pytorch-mobilenet): model.0 is conv, bn; model.1 to model.13
are 3x3 depthwise conv, bn, relu, 1x1 conv, bn, relu by position; then fc.
"""

from __future__ import annotations

from torch import Tensor, nn

from core.graph.architectures.registry import Architecture, ArchitectureCard, Shapes, register

FIRST_WIDTH = 32
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class MobileNetV1(nn.Module):
    """x: N, C, 224, 224 -> N, classes."""

    def __init__(self, multiplier: float = 1.0, channels: int = 3, classes: int = 1000) -> None:
        super().__init__()
        widths = [round(width * multiplier) for width in (FIRST_WIDTH, *WIDTHS)]
        blocks = [_separable(into, out, stride) for into, out, stride in zip(widths, widths[1:], STRIDES, strict=False)]
        self.model = nn.Sequential(_convolution(channels, widths[0]), *blocks, nn.AdaptiveAvgPool2d(1))
        self.flatten = nn.Flatten(1)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores for each class."""
        scores: Tensor = self.fc(self.flatten(self.model(x)))
        return scores


def _convolution(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())


def _separable(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def _build(shapes: Shapes) -> nn.Module:
    width, channels = shapes["model.0.0.weight"][:2]
    return MobileNetV1(width / FIRST_WIDTH, channels, classes=shapes["fc.weight"][0])


register(
    Architecture(
        card=ArchitectureCard(
            id="mobilenetv1",
            title="MobileNetV1",
            paper="https://arxiv.org/abs/1704.04861",
            input_shape=(3, 224, 224),
            parameter_names="marvis/pytorch-mobilenet: model.0.0 to model.13.4, fc",
        ),
        build=_build,
        first_layer="model.0.0.weight",
    )
)
