"""ResNets for CIFAR with 6n+2 layers.

He et al. 2015, "Deep Residual Learning for Image Recognition", section 4.2, https://arxiv.org/abs/1512.03385.
Shortcuts are option A: where a stage begins, every second pixel is taken and zero channels are added on both sides, so
shortcuts have no parameters. Parameter names as in akamaster/pytorch_resnet_cifar10: conv1, bn1, layer1..3, linear.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.graph.architectures.registry import Architecture, ArchitectureCard, Shapes, register

STAGE_WIDTHS = (16, 32, 64)


class OptionAShortcut(nn.Module):
    """x: N, C, H, W -> N, `channels`, H/`stride`, W/`stride`, without parameters."""

    def __init__(self, added: int, stride: int) -> None:
        super().__init__()
        self.added, self.stride = added, stride

    def forward(self, x: Tensor) -> Tensor:
        """Subsample, then pad channels with zeros."""
        if self.stride != 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2)) if self.added else x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = OptionAShortcut(channels - channels_in, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """x: N, C, H, W."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu2(torch.add(y, self.shortcut(x)))
        return out


class CifarResNet(nn.Module):
    """x: N, C, 32, 32 -> N, classes."""

    def __init__(self, blocks: int, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, STAGE_WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGE_WIDTHS[0])
        self.relu = nn.ReLU()
        self.layer1 = _stage(STAGE_WIDTHS[0], STAGE_WIDTHS[0], blocks, stride=1)
        self.layer2 = _stage(STAGE_WIDTHS[0], STAGE_WIDTHS[1], blocks, stride=2)
        self.layer3 = _stage(STAGE_WIDTHS[1], STAGE_WIDTHS[2], blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.linear = nn.Linear(STAGE_WIDTHS[2], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores for each class."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.linear(self.flatten(self.avgpool(x)))
        return scores


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def _build(shapes: Shapes, blocks: int) -> nn.Module:
    return CifarResNet(blocks, channels=shapes["conv1.weight"][1], classes=shapes["linear.weight"][0])


for _depth in (20, 32, 44, 56):
    register(
        Architecture(
            card=ArchitectureCard(
                id=f"resnet{_depth}",
                title=f"ResNet-{_depth} (CIFAR)",
                paper="https://arxiv.org/abs/1512.03385",
                input_shape=(3, 32, 32),
                parameter_names="akamaster/pytorch_resnet_cifar10: conv1, bn1, layer1.0.conv1, ..., linear",
            ),
            build=partial(_build, blocks=(_depth - 2) // 6),
            first_layer="conv1.weight",
        )
    )
