"""What calibration knows about one activation tensor: its moments, and the best grid at every width. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ActivationGrid(BaseModel):
    """A uniform grid: value = (clip(round(x / scale) + zero_point, low, high) - zero_point) * scale."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scale: float = Field(gt=0)
    zero_point: int = 0
    low: int
    high: int


class SiteRange(BaseModel):
    """Figures of one activation site over all calibration images.

    `grids` hold zero as code 0: unsigned where the tensor cannot be negative, symmetric otherwise.
    `affine_grids` shift the codes by a zero point, so that a lopsided range wastes no code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    role: Literal["layer", "residual"]
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
