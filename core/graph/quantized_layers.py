"""Layers that compute with the quantized value of their own float weight.

Each keeps the original layer as `layer`, so the float weight stays trainable, and its quantizer as `weight_quantizer`.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional


class QuantizedLayer(nn.Module):
    """A layer and the quantizer of its weight; subclasses say how the quantized weight is applied."""

    layer: nn.Module
    weight_quantizer: nn.Module

    def __init__(self, layer: nn.Module, weight_quantizer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.weight_quantizer = weight_quantizer

    def quantized_weight(self) -> Tensor:
        """The weight as the forward pass uses it, in the shape of the float weight."""
        weight: Tensor = self.weight_quantizer(self.layer.weight)
        return weight


class QuantizedConv2d(QuantizedLayer):
    """x: N, I, H, W -> N, O, H', W'."""

    layer: nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the quantized weight; the bias stays float."""
        of = self.layer
        return functional.conv2d(x, self.quantized_weight(), of.bias, of.stride, of.padding, of.dilation, of.groups)


class QuantizedConvTranspose2d(QuantizedLayer):
    """x: N, I, H, W -> N, O, H', W'; the weight is I, O/groups, kh, kw."""

    layer: nn.ConvTranspose2d

    def forward(self, x: Tensor) -> Tensor:
        """Convolve transposed with the quantized weight; the bias stays float."""
        of, weight = self.layer, self.quantized_weight()
        padding, added = cast(tuple[int, int], of.padding), cast(tuple[int, int], of.output_padding)
        return functional.conv_transpose2d(x, weight, of.bias, of.stride, padding, added, of.groups, of.dilation)


class QuantizedLinear(QuantizedLayer):
    """x: N, ..., I -> N, ..., O."""

    layer: nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the quantized weight; the bias stays float."""
        return functional.linear(x, self.quantized_weight(), self.layer.bias)


def quantized_layer(layer: nn.Module, weight_quantizer: nn.Module) -> QuantizedLayer:
    """The quantized counterpart of an ordinary layer."""
    counterparts: dict[type[nn.Module], type[QuantizedLayer]] = {
        nn.Conv2d: QuantizedConv2d,
        nn.ConvTranspose2d: QuantizedConvTranspose2d,
        nn.Linear: QuantizedLinear,
    }
    return counterparts[type(layer)](layer, weight_quantizer)
