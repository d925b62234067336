"""What calibration knows about one activation tensor: its moments, and the best grid at every width. No torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


class ActivationGrid(BaseModel):
    """How a tensor becomes integers, and what they mean: value = (code - zero_point) * scale + offset.

    Which code an x gets:
    - nearest: clip(round((x - offset) / scale) + zero_point, low, high), halves to even; `up` rounds up instead;
    - with `thresholds`, ascending: the code at position (number of thresholds <= x), from `levels` or from low upwards.
    `levels`: the codes in use, ascending, where they are not every integer from low to high.
    All arithmetic is float32, each operation rounded once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scale: float = Field(gt=0)
    zero_point: int = 0
    low: int
    high: int
    offset: float = 0.0
    rounding: Literal["nearest", "up"] = "nearest"
    thresholds: tuple[float, ...] = ()
    levels: tuple[int, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it is what ONNX's QuantizeLinear computes."""
        return self.offset == 0 and self.rounding == "nearest" and not self.thresholds and not self.levels

    def codes(self, x: Floats) -> Integers:
        """The integers of any array."""
        x = np.asarray(x, np.float32)
        if self.thresholds:
            position = np.searchsorted(np.array(self.thresholds, np.float32), x, side="right")
            table = np.array(self.levels or range(self.low, self.high + 1), np.int32)
            found: Integers = table[position]
            return found
        steps = (x - np.float32(self.offset)) / np.float32(self.scale)
        rounded = np.ceil(steps) if self.rounding == "up" else np.rint(steps)
        clipped: Integers = np.clip(rounded + np.float32(self.zero_point), self.low, self.high).astype(np.int32)
        return clipped

    def values(self, codes: Integers) -> Floats:
        """What the integers mean, float32."""
        scaled = (codes - self.zero_point).astype(np.float32) * np.float32(self.scale)
        values: Floats = scaled + np.float32(self.offset)
        return values


class SiteRange(BaseModel):
    """Figures of one activation site over all calibration images.

    `grids` hold zero as code 0: unsigned where the tensor cannot be negative, symmetric otherwise.
    `affine_grids` shift the codes by a zero point, so that a lopsided range wastes no code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    role: Literal["layer", "residual", "product"]
    signed: bool
    values: int = Field(description="how many values were seen")
    minimum: float
    maximum: float
    mean: float
    standard_deviation: float = Field(description="population, over all values")
    grids: dict[int, ActivationGrid] = Field(description="by bits: 1 to 8, and 16")
    affine_grids: dict[int, ActivationGrid]


def code_range(bits: int, signed: bool) -> tuple[int, int]:
    """Lowest and highest code around a zero that is code 0.

    One signed bit would be {-1, 0} in two's complement; it is {0, 1} instead: ReLU, then one step.
    """
    if signed and bits > 1:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1
