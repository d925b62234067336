"""The example's network: a narrow residual CNN of thirteen quantizable layers for 1 x 8 x 8 images.

Three kinds of block, so that a bit map has something to tell apart: a basic residual block and its strided form with
a 1x1 shortcut (He et al., 2016, arXiv 1512.03385), and inverted residuals with depthwise convolutions and linear
bottlenecks (Sandler et al., 2018, arXiv 1801.04381), whose few weights per channel suffer most from few bits.
Every convolution is followed by a batch norm that stays unfolded. The network is narrow on purpose: with six to
twenty-four channels nothing is redundant, so that every bit that is taken away shows in the accuracy.
"""

from __future__ import annotations

from torch import Tensor, nn

CLASSES = 10


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__()
        self.add_module("conv", conv)
        self.add_module("norm", nn.BatchNorm2d(outputs))


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = ConvNorm(outputs, outputs, 3)
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module | None = None if same else ConvNorm(inputs, outputs, 1, stride)
        self.relu_first, self.relu_sum = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """B, I, H, W -> B, O, H / stride, W / stride; never negative."""
        y = self.second(self.relu_first(self.first(x)))
        return self.relu_sum(y + (x if self.shortcut is None else self.shortcut(x)))  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1 without an activation, add."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = ConvNorm(channels, hidden, 1)
        self.depthwise = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.project = ConvNorm(hidden, channels, 1)
        self.relu_expand, self.relu_depthwise = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """B, C, H, W -> B, C, H, W; may be negative."""
        y = self.relu_expand(self.expand(x))
        return x + self.project(self.relu_depthwise(self.depthwise(y)))  # type: ignore[no-any-return]


class DigitsResNet(nn.Module):
    """Images of 8 x 8 pixels in [0, 1] -> ten logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(1, 6, 3)
        self.relu = nn.ReLU()
        self.block1 = Basic(6, 6)
        self.block2 = Basic(6, 12, stride=2)
        self.block3 = Inverted(12, 24)
        self.block4 = Inverted(12, 24)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """B, 1, 8, 8 -> B, 10."""
        y = self.block2(self.block1(self.relu(self.stem(x))))
        y = self.flatten(self.pool(self.block4(self.block3(y))))
        return self.classifier(y)  # type: ignore[no-any-return]
