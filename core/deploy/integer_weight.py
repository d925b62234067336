"""The integers of one layer's weight, as every export writes them: numpy arrays with one entry per output channel.

    value[c] = scale[c] * code + offset[c],   code = low[c] + step[c] * field,   0 <= field < 2^bits[c]

or, where a method's levels are not equally far apart, code = levels[field], the same levels in all channels.

Scaling a channel (absorbing batch norm) never changes its integers but for their sign. C is the number of output
channels, `axis` their dimension in the weight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from core.graph.quantized_layers import QuantizedLayer
from core.quantizers.base import QuantizedTensor, WeightQuantizer

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class IntegerWeight:
    """`codes` int32 in the weight's shape; `levels` ascending, at most 2^bits; all else of shape [C]."""

    codes: NDArray[np.int32]
    axis: int
    bits: Integers
    low: Integers
    high: Integers
    step: Integers
    scale: Floats
    offset: Floats
    levels: Integers | None = None

    @property
    def has_offset(self) -> bool:
        """Whether the codes' zero is not the value zero."""
        return bool(self.offset.any())

    def spread(self, per_channel: NDArray[Any]) -> NDArray[Any]:
        """[C] shaped so that it broadcasts over the weight."""
        return per_channel.reshape([-1 if dimension == self.axis else 1 for dimension in range(self.codes.ndim)])

    def values(self) -> Floats:
        """The weight in float32, each operation rounded once, as training computed it."""
        scaled = self.codes.astype(np.float32) * self.spread(self.scale)
        values: Floats = scaled + self.spread(self.offset)
        return values

    def fields(self) -> NDArray[np.uint16]:
        """Unsigned, in the weight's shape: what is stored in `bits` bits."""
        if self.levels is not None:
            return np.searchsorted(self.levels, self.codes).astype(np.uint16)
        steps: Integers = (self.codes - self.spread(self.low)) // self.spread(self.step)
        return steps.astype(np.uint16)

    def rows_of_fields(self) -> NDArray[np.uint16]:
        """[C, weights per channel]."""
        return np.moveaxis(self.fields(), self.axis, 0).reshape(len(self.bits), -1)

    def code_range(self) -> tuple[int, int]:
        """Lowest and highest code of any channel's grid."""
        if self.levels is not None:
            return int(self.levels[0]), int(self.levels[-1])
        return int(self.low.min()), int(self.high.max())

    def largest_field(self) -> int:
        """Of any channel's grid."""
        if self.levels is not None:
            return len(self.levels) - 1
        return int(((self.high - self.low) // self.step).max())

    def times(self, factor: Doubles) -> IntegerWeight:
        """Every channel multiplied by its factor. Where that is negative, the integers change their sign if their
        grid holds the negated ones, and otherwise the scale becomes negative.
        """
        flipped = (factor < 0) & (self.offset == 0) & self._holds_negated()
        factor = np.where(flipped, -factor, factor)
        return replace(
            self,
            codes=np.where(self.spread(flipped), -self.codes, self.codes).astype(np.int32),
            scale=(self.scale * factor).astype(np.float32),
            offset=(self.offset * factor).astype(np.float32),
        )

    def _holds_negated(self) -> NDArray[np.bool_]:
        others = tuple(dimension for dimension in range(self.codes.ndim) if dimension != self.axis)
        within = (-self.codes.max(others) >= self.low) & (-self.codes.min(others) <= self.high)
        on_grid = (2 * self.low) % self.step == 0
        if self.levels is not None:
            on_grid = np.full(len(within), np.array_equal(-self.levels[::-1], self.levels))
        held: NDArray[np.bool_] = within & on_grid
        return held


def integer_weight(layer: QuantizedLayer, axis: int) -> IntegerWeight | None:
    """Read from a fake-quantized layer; None where it is float."""
    quantizer = layer.weight_quantizer
    if not isinstance(quantizer, WeightQuantizer):
        return None
    weight = cast(Tensor, layer.layer.weight)
    return _from_tensors(quantizer.integers(weight.detach()), axis)


def _from_tensors(quantized: QuantizedTensor, axis: int) -> IntegerWeight:
    codes = quantized.codes.cpu().numpy().astype(np.int32)

    def per_channel(values: Tensor, dtype: Any) -> NDArray[Any]:
        return np.broadcast_to(values.detach().cpu().numpy().reshape(-1), codes.shape[axis]).astype(dtype)

    grid = {name: per_channel(getattr(quantized, name), np.int64) for name in ("bits", "low", "high", "step")}
    scale, offset = per_channel(quantized.scale, np.float32), per_channel(quantized.offset, np.float32)
    levels = None if quantized.levels is None else quantized.levels.cpu().numpy().astype(np.int64)
    return IntegerWeight(codes, axis, scale=scale, offset=offset, levels=levels, **grid)


def output_axis(layer: nn.Module) -> int:
    """The dimension of a weight that counts output channels."""
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0
