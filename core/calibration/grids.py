"""From the limits of a tensor to a grid of so many bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.quantizers.site_range import ActivationGrid, code_range

GridKind = Literal["unsigned", "symmetric", "affine"]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Grids:
    """Several grids of equal width and kind: one `scale` and `zero_point` each."""

    scale: Array
    zero_point: Array
    low: int
    high: int

    def round(self, values: Array) -> Array:
        """values (M,) -> values on each of the K grids (K, M)."""
        scale, zero = self.scale[:, None], self.zero_point[:, None]
        codes = np.rint(values / scale)
        return np.clip(codes, self.low - zero, self.high - zero, out=codes) * scale

    def grid(self, position: int = 0) -> ActivationGrid:
        """One of them."""
        zero_point = int(self.zero_point[position])
        return ActivationGrid(scale=float(self.scale[position]), zero_point=zero_point, low=self.low, high=self.high)


def grids_between(lower: Array, upper: Array, bits: int, kind: GridKind) -> Grids:
    """The finest grids that clip nothing between the limits. Scales are float32 numbers, as the quantizers hold them.

    Affine as in Jacob et al. (arXiv 1712.05877, eq. 1 and section 3): the range includes zero, and zero is a code.
    """
    lower, upper = np.minimum(lower, 0.0), np.maximum(upper, 0.0)
    low, high = (0, 2**bits - 1) if kind == "affine" else code_range(bits, kind == "symmetric")
    if kind == "affine":
        scale = _positive((upper - lower) / high)
        zero_point = np.clip(np.rint(-lower / scale), 0, high)
    else:
        scale = _positive(np.maximum(upper / high, lower / low) if low else upper / high)
        zero_point = np.zeros_like(scale)
    return Grids(scale, zero_point, low, high)


def _positive(scale: Array) -> Array:
    """A tensor that is always zero gets the range 0 to 1, or any other: all its codes are zero."""
    smallest = float(np.finfo(np.float32).tiny)
    return np.where(scale > smallest, scale, 1.0).astype(np.float32).astype(np.float64)
