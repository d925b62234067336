"""VGG-small, the network of binary and low-bit papers on CIFAR-10.

Zhang et al. 2018, "LQ-Nets", section 5.1, https://arxiv.org/abs/1807.10029: six 3x3 convolutions (128, 128, pool, 256,
256, pool, 512, 512, pool) with batch norm, and one fully connected layer. Here each convolution is followed by batch
norm, ReLU and then the pool; ports differ in that order. Names as in IR-Net: conv0..conv5, bn0..bn5, fc.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from core.graph.architectures.registry import Architecture, ArchitectureCard, Shapes, register

WIDTHS = (128, 128, 256, 256, 512, 512)
POOLS = 3


class VggSmall(nn.Module):
    """x: N, C, 32, 32 -> N, classes; other square sizes follow from the features of `fc`."""

    def __init__(self, channels: int = 3, features: int = 512 * 4 * 4, classes: int = 10) -> None:
        super().__init__()
        for index, (into, out) in enumerate(zip((channels, *WIDTHS), WIDTHS, strict=False)):
            self.add_module(f"conv{index}", nn.Conv2d(into, out, 3, padding=1, bias=False))
            self.add_module(f"bn{index}", nn.BatchNorm2d(out))
            self.add_module(f"relu{index}", nn.ReLU())
        for index in range(POOLS):
            self.add_module(f"pool{index}", nn.MaxPool2d(2))
        self.flatten = nn.Flatten(1)
        self.fc = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores for each class."""
        for index in range(len(WIDTHS)):
            for name in (f"conv{index}", f"bn{index}", f"relu{index}"):
                x = self.get_submodule(name)(x)
            if index % 2:
                x = self.get_submodule(f"pool{index // 2}")(x)
        scores: Tensor = self.fc(self.flatten(x))
        return scores


def _build(shapes: Shapes) -> nn.Module:
    classes, features = shapes["fc.weight"]
    return VggSmall(shapes["conv0.weight"][1], features, classes)


def _input_shape(shapes: Shapes) -> tuple[int, int, int]:
    side = math.isqrt(shapes["fc.weight"][1] // WIDTHS[-1]) * 2**POOLS
    return (shapes["conv0.weight"][1], side, side)


register(
    Architecture(
        card=ArchitectureCard(
            id="vggsmall",
            title="VGG-small",
            paper="https://arxiv.org/abs/1807.10029",
            input_shape=(3, 32, 32),
            parameter_names="htqin/IR-Net: conv0, bn0, ..., conv5, bn5, fc",
        ),
        build=_build,
        first_layer="conv0.weight",
        input_shape=_input_shape,
    )
)
