"""A target: a piece of hardware, described with units and the source of every figure."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Provenance = Literal["simulated", "table", "measured"]


class Support(BaseModel):
    """What the hardware can execute. Empty pair lists mean every pair from 1 to 8."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight_bits: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    activation_bits: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    pairs: tuple[tuple[int, int], ...] = ()
    granularity: tuple[Literal["tensor", "channel"], ...] = ("tensor", "channel")
    zero_point: bool = True
    scale: Literal["real", "dyadic", "power-of-two"] = "real"
    accumulator_bits: int = 32

    def allows(self, weight_bits: int, activation_bits: int) -> bool:
        """Whether a layer can run at that pair of widths."""
        if self.pairs:
            return (weight_bits, activation_bits) in self.pairs
        return weight_bits in self.weight_bits and activation_bits in self.activation_bits


class Target(BaseModel):
    """One piece of hardware. `kind` names the file in `core/hardware/` that simulates it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    kind: str
    description: str
    provenance: Provenance
    source: str = Field(description="where the figures come from; what is fitted or reconstructed")
    batch: int = Field(ge=1, description="images per pass that a latency stands for")
    clock_hz: float = Field(gt=0)
    supports: Support = Support()
    parameters: dict[str, Any] = Field(default_factory=dict, description="of the kind, with units in the names")
