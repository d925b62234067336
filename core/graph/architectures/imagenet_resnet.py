"""ResNets for ImageNet.

He et al. 2015, "Deep Residual Learning for Image Recognition", table 1, https://arxiv.org/abs/1512.03385.
Shortcuts are option B (a 1x1 convolution where shapes change); ResNet-50 strides in the 3x3 convolution, as torchvision
does. Parameter names as in torchvision: conv1, bn1, layer1..4 with conv1 bn1 ... downsample.0 downsample.1, fc.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from core.graph.architectures.registry import Architecture, ArchitectureCard, Shapes, register

STAGE_WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """Common to both blocks: a body, and a shortcut that is projected where shapes change."""

    downsample: nn.Sequential | None

    def _project(self, channels_in: int, channels: int, stride: int) -> nn.Sequential | None:
        if stride == 1 and channels_in == channels:
            return None
        return nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def _shortcut(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)


class BasicBlock(Block):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = self._project(channels_in, width, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """x: N, C, H, W."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu2(torch.add(y, self._shortcut(x)))
        return out


class Bottleneck(Block):
    """1x1, 3x3 with the stride, 1x1 to four times the width."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels = width * self.expansion
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = self._project(channels_in, channels, stride)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """x: N, C, H, W."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu3(torch.add(y, self._shortcut(x)))
        return out


class ImageNetResNet(nn.Module):
    """x: N, C, 224, 224 -> N, classes."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], blocks: tuple[int, ...], channels: int = 3, classes: int = 1000
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, STAGE_WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGE_WIDTHS[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        width_in = STAGE_WIDTHS[0]
        for stage, (width, count) in enumerate(zip(STAGE_WIDTHS, blocks, strict=True), start=1):
            width_out = width * block.expansion
            strides = [2 if stage > 1 else 1] + [1] * (count - 1)
            inputs = [width_in] + [width_out] * (count - 1)
            members = [block(into, width, stride) for into, stride in zip(inputs, strides, strict=True)]
            self.add_module(f"layer{stage}", nn.Sequential(*members))
            width_in = width_out
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.fc = nn.Linear(width_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores for each class."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, len(STAGE_WIDTHS) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        scores: Tensor = self.fc(self.flatten(self.avgpool(x)))
        return scores


def _build(shapes: Shapes, block: type[BasicBlock | Bottleneck], blocks: tuple[int, ...]) -> nn.Module:
    return ImageNetResNet(block, blocks, channels=shapes["conv1.weight"][1], classes=shapes["fc.weight"][0])


BLOCKS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}

for _depth, (_block, _blocks) in BLOCKS.items():
    register(
        Architecture(
            card=ArchitectureCard(
                id=f"resnet{_depth}",
                title=f"ResNet-{_depth}",
                paper="https://arxiv.org/abs/1512.03385",
                input_shape=(3, 224, 224),
                parameter_names="torchvision: conv1, bn1, layer1.0.conv1, ..., layer2.0.downsample.0, ..., fc",
            ),
            build=partial(_build, block=_block, blocks=_blocks),
            first_layer="conv1.weight",
        )
    )
