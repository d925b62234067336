"""What every quantizer is: a module that rounds to a grid, and can name the integers behind its output.

The output of `forward` equals `scale * codes + offset` of `integers` (weights), or the value of `grid` (activations),
to the bit: training never sees a number that the integers cannot recreate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.policy import FLOAT_BITS
from core.quantizers.site_range import ActivationGrid, SiteRange


@dataclass(frozen=True)
class QuantizedTensor:
    """Integers of one weight tensor: value = scale * code + offset.

    `codes` int32, the weight's shape: in every group `low`, `low + step`, ... `high`, at most 2^bits of them; or one of
    `levels` (int32, ascending, at most 2^bits), where a method's levels are not equally far apart.
    `scale`, `offset` float32, one value or one per channel along `axis`; `offset` is 0 for symmetric grids.
    `bits`, `low`, `high`, `step` int32, of the same shape as `scale`.
    """

    codes: Tensor
    scale: Tensor
    offset: Tensor
    axis: int | None
    bits: Tensor
    low: Tensor
    high: Tensor
    step: Tensor
    levels: Tensor | None = None

    @classmethod
    def of_one_width(
        cls,
        codes: Tensor,
        scale: Tensor,
        axis: int | None,
        bits: int,
        code_range: tuple[int, int],
        *,
        offset: Tensor | None = None,
        step: int = 1,
        levels: Tensor | None = None,
    ) -> QuantizedTensor:
        """All groups have the same width and grid; `scale` may still have its dimensions of size 1."""
        scale = scale.detach().reshape(() if axis is None else (-1,))
        offset = torch.zeros_like(scale) if offset is None else offset.detach().reshape(scale.shape)
        width, low, high, apart = (filled(scale, value) for value in (bits, *code_range, step))
        return cls(codes.detach().to(torch.int32), scale, offset, axis, width, low, high, apart, levels)

    def dequantize(self) -> Tensor:
        """The weight that training saw, float32: `scale * codes + offset`, each operation rounded once."""
        shape = along(self.axis, self.codes.dim())
        return self.codes.to(self.scale.dtype) * self.scale.view(shape) + self.offset.view(shape)


def along(axis: int | None, dimensions: int) -> list[int]:
    """Shape that spreads one value per channel over a weight: -1 at `axis`, 1 elsewhere; all 1 for one value."""
    return [-1 if dimension == axis else 1 for dimension in range(dimensions)]


def reduced_dimensions(axis: int | None, dimensions: int) -> list[int]:
    """The dimensions that share one scale."""
    return [dimension for dimension in range(dimensions) if dimension != axis]


class WeightQuantizer(nn.Module):
    """Rounds a weight. `axis` is the output channel's dimension where each channel has its own scale, else None."""

    def __init__(self, bits: int | Sequence[int], axis: int | None) -> None:
        super().__init__()
        self.bits = bits if isinstance(bits, int) else tuple(bits)
        self.axis = axis

    def starting_weight(self, weight: Tensor) -> Tensor:
        """The latent weight that training starts from: the float one, unless the method works in a fixed range."""
        return weight

    def initialise(self, weight: Tensor) -> None:
        """Set what is learned, from the float weight. Nothing for methods that look at every weight anew."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight on its grid, float32, the same shape; differentiable as the method's paper says."""
        raise NotImplementedError

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """The integers behind `forward(weight)`."""
        raise NotImplementedError

    def project(self) -> None:
        """Bring learned values back to where they are allowed, after an optimiser's step."""


class ActivationQuantizer(nn.Module):
    """Rounds an activation tensor to one grid."""

    def __init__(self, bits: int, signed: bool) -> None:
        super().__init__()
        self.bits = bits
        self.signed = signed

    @property
    def clips_at_zero(self) -> bool:
        """Whether a ReLU in front changes neither values nor gradients: training then leaves it out."""
        return False

    def initialise(self, site: SiteRange) -> None:
        """Take the range from calibration."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The tensor on its grid, the same shape."""
        raise NotImplementedError

    def grid(self) -> ActivationGrid:
        """The grid that `forward` rounds to, when in eval mode."""
        raise NotImplementedError

    def project(self) -> None:
        """Bring learned values back to where they are allowed, after an optimiser's step."""


class Passthrough(nn.Module):
    """Float: nothing is rounded. Stands where a policy says 32 bits."""

    bits = FLOAT_BITS

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x


def filled(template: Tensor, value: int) -> Tensor:
    """int32 of the template's shape, holding `value`."""
    return torch.full_like(template, value, dtype=torch.int32)
