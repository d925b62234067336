"""LeNet-5 with ReLU and max pools, as it is taught with PyTorch.

LeCun et al. 1998, "Gradient-based learning applied to document recognition", https://doi.org/10.1109/5.726791.
Parameter names conv1, conv2, fc1, fc2, fc3. The widths, and whether the first layer pads 28x28 to keep its size, follow
from the file: fc1 has 16 * 5 * 5 features for 32x32 images and for padded 28x28, 16 * 4 * 4 for plain 28x28.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from core.graph.architectures.registry import Architecture, ArchitectureCard, Shapes, register

GRAY = 1


class LeNet(nn.Module):
    """x: N, C, H, W -> N, classes."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        (first, channels, kernel, _), (second, _, kernel2, _) = shapes["conv1.weight"], shapes["conv2.weight"]
        self.conv1 = nn.Conv2d(channels, first, kernel, padding=_padding(shapes))
        self.relu1, self.pool1 = nn.ReLU(), nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(first, second, kernel2)
        self.relu2, self.pool2 = nn.ReLU(), nn.MaxPool2d(2)
        self.flatten = nn.Flatten(1)
        self.fc1 = nn.Linear(shapes["fc1.weight"][1], shapes["fc1.weight"][0])
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(shapes["fc2.weight"][1], shapes["fc2.weight"][0])
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(shapes["fc3.weight"][1], shapes["fc3.weight"][0])

    def forward(self, x: Tensor) -> Tensor:
        """Scores for each class."""
        x = self.pool2(self.relu2(self.conv2(self.pool1(self.relu1(self.conv1(x))))))
        scores: Tensor = self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(self.flatten(x))))))
        return scores


def _pooled_side(shapes: Shapes) -> int:
    return math.isqrt(shapes["fc1.weight"][1] // shapes["conv2.weight"][0])


def _padding(shapes: Shapes) -> int:
    """Gray images are the 28x28 of MNIST: where 5x5 is left of them, the first layer must have padded by 2."""
    return 2 if shapes["conv1.weight"][1] == GRAY and _pooled_side(shapes) == 5 else 0


def _input_shape(shapes: Shapes) -> tuple[int, int, int]:
    kernel1, kernel2 = shapes["conv1.weight"][2], shapes["conv2.weight"][2]
    side = 2 * (2 * _pooled_side(shapes) + kernel2 - 1) + kernel1 - 1 - 2 * _padding(shapes)
    return (shapes["conv1.weight"][1], side, side)


register(
    Architecture(
        card=ArchitectureCard(
            id="lenet",
            title="LeNet-5",
            paper="https://doi.org/10.1109/5.726791",
            input_shape=(1, 28, 28),
            parameter_names="conv1, conv2, fc1, fc2, fc3",
        ),
        build=LeNet,
        first_layer="conv1.weight",
        input_shape=_input_shape,
    )
)
