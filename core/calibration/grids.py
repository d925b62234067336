"""From the limits of tensors or channels to grids of so many bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.quantizers.site_range import ActivationGrid, code_range

GridKind = Literal["unsigned", "symmetric", "affine"]


@dataclass(frozen=True)
class Grids:
    """Several grids of equal width and kind: one `scale` and `zero_point` each, of any shape and one float type."""

    scale: Tensor
    zero_point: Tensor
    low: int
    high: int

    def round(self, values: Tensor) -> Tensor:
        """values (K, M), scale (..., K) -> the values on the grids (..., K, M)."""
        scale, zero = self.scale[..., None], self.zero_point[..., None]
        return (values / scale).round_().clamp_(self.low - zero, self.high - zero).mul_(scale)

    def grid(self, position: int = 0) -> ActivationGrid:
        """One of them."""
        scale, zero_point = self.scale.reshape(-1)[position].item(), int(self.zero_point.reshape(-1)[position].item())
        return ActivationGrid(scale=scale, zero_point=zero_point, low=self.low, high=self.high)


def grids_between(lower: Tensor, upper: Tensor, bits: int, kind: GridKind) -> Grids:
    """The finest grids that clip nothing between the limits. Scales are float32 numbers, as the quantizers hold them.

    Affine as in Jacob et al. (arXiv 1712.05877, eq. 1 and section 3): the range includes zero, and zero is a code.
    """
    lower, upper = lower.clamp_max(0.0), upper.clamp_min(0.0)
    low, high = (0, 2**bits - 1) if kind == "affine" else code_range(bits, kind == "symmetric")
    if kind == "affine":
        scale = _positive((upper - lower) / high)
        zero_point = (-lower / scale).round_().clamp_(0, high)
    else:
        scale = _positive(torch.maximum(upper / high, lower / low) if low else upper / high)
        zero_point = torch.zeros_like(scale)
    return Grids(scale, zero_point, low, high)


def _positive(scale: Tensor) -> Tensor:
    """A tensor that is always zero gets a step of one, or any other: all its codes are zero."""
    rounded = torch.where(scale > torch.finfo(torch.float32).tiny, scale, 1.0)
    return rounded.to(torch.float32).to(scale.dtype)
