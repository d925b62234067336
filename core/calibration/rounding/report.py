"""What rounding did, as the result of a task holds it: JSON both ways. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class UnitReport(_Record):
    """A layer or a block. Errors: squared difference to the float output over its square, on held-back images."""

    layers: tuple[str, ...]
    kept: Literal["rounded", "nearest"] = Field(description="which weights the network goes on with")
    why: str = Field(default="", description="what was set back, and why: the rounding, or learned activation steps")
    error_nearest: float | None
    error_rounded: float | None = Field(description="null where it was not finite, or nothing was tried")
    moved: float = Field(description="share of the weights that are not at their nearest level")
    iterations: int = 0


class RoundingReport(_Record):
    """The whole network."""

    rounding: str
    images: int = Field(description="images used, those held back included")
    held_back: int = Field(description="images that judge, and are not tuned on; 0: too few, all do both")
    units: tuple[UnitReport, ...] = ()
    resumed_from_unit: int = 0
    seconds: float = Field(default=0.0, description="of this run, without the one it resumed")
