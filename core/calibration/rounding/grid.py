"""The levels between which a weight may be rounded up or down, whatever its quantizer and the widths of its channels.

A quantizer with a fixed or learned step answers the same scale whatever level a weight is set to. One bit (BWN) has
the scale alpha = mean|w|: there only the sign of a weight is chosen and its magnitude stays, so that alpha stays too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import InvalidSpecification
from core.quantizers.base import WeightQuantizer, along

WIDEST = 8  # bits; finer grids need no choice


@dataclass(frozen=True)
class Choices:
    """The two codes around each weight, as float32 in the weight's shape, and how far it lies from the first, 0 to 1.

    Where a weight lies beyond the grid both are the outermost code.
    """

    lower: Tensor
    upper: Tensor
    rest: Tensor


@dataclass(frozen=True)
class WeightGrid:
    """value = scale * code + offset; codes low, low + step, ... high. All spread over the weight's shape."""

    scale: Tensor
    offset: Tensor
    low: Tensor
    high: Tensor
    step: Tensor
    signs: Tensor  # bool: where a weight has one bit

    @classmethod
    def of(cls, quantizer: WeightQuantizer, weight: Tensor) -> WeightGrid:
        """InvalidSpecification where levels are not equally far apart."""
        integers = quantizer.integers(weight.detach())
        if integers.levels is not None:
            raise InvalidSpecification(
                "weights whose levels are not equally far apart are rounded to the nearest",
                hint="choose rounding 'nearest', or a uniform method such as lsq",
            )
        shape = along(integers.axis, weight.dim())
        scale, offset, bits = (each.view(shape) for each in (integers.scale, integers.offset, integers.bits))
        low, high, step = (each.view(shape).to(scale.dtype) for each in (integers.low, integers.high, integers.step))
        return cls(scale, offset, low, high, step, (bits == 1) & (step == 2))

    def position(self, values: Tensor) -> Tensor:
        """In codes, not rounded."""
        return (values - self.offset) / self.scale

    def choices(self, weight: Tensor) -> Choices:
        """Down and up from each weight."""
        steps = (self.position(weight) - self.low) / self.step
        lower = self.low + self.step * steps.floor()
        return Choices(
            lower=self._clipped(lower),
            upper=self._clipped(lower + self.step),
            rest=steps - steps.floor(),
        )

    def nearest(self, values: Tensor) -> Tensor:
        """Codes, float32; halves to even as the quantizers do, and of one bit to +1."""
        position = self.position(values)
        plain, sparse = position.round(), self.low + self.step * ((position - self.low) / self.step + 0.5).floor()
        return self._clipped(torch.where(self.step == 1, plain, sparse))

    def values(self, codes: Tensor) -> Tensor:
        """What codes mean; differentiable."""
        return codes * self.scale + self.offset

    def latent(self, codes: Tensor, weight: Tensor) -> Tensor:
        """The weight that stands for these codes in the network."""
        tiny = torch.finfo(weight.dtype).tiny
        magnitude = weight.abs().clamp_min(tiny)
        return torch.where(self.signs, torch.where(codes > 0, magnitude, -magnitude), self.values(codes))

    def _clipped(self, codes: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(codes, self.low), self.high)


def can_be_rounded(quantizer: object) -> bool:
    """Whether there is a choice: some channel has 1 to 8 bits. Float, pruned and 16-bit weights have none."""
    if not isinstance(quantizer, WeightQuantizer):
        return False
    widths = (quantizer.bits,) if isinstance(quantizer.bits, int) else quantizer.bits
    return any(1 <= width <= WIDEST for width in widths)
