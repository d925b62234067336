"""A target: a piece of hardware, described with units and the source of every figure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Provenance = Literal["simulated", "table", "measured"]
Width = Annotated[int, Field(ge=1, le=32)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Memory(_Part):
    """A memory that must hold something, or a policy does not fit.

    Weights of the whole network (flash), or of each layer on its own (weights that are kept on chip); activations are
    a layer's input and output together, of each layer on its own.
    """

    name: str = Field(min_length=1, max_length=80)
    holds: Literal["network-weights", "layer-weights", "layer-activations"]
    size_bytes: int = Field(gt=0)


class Support(_Part):
    """What the hardware can execute. Without `pairs`, every pair of the listed widths."""

    weight_bits: tuple[Width, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    activation_bits: tuple[Width, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    pairs: tuple[tuple[Width, Width], ...] = ()
    granularity: tuple[Literal["tensor", "channel"], ...] = ("tensor", "channel")
    zero_point: bool = True
    scale: Literal["real", "dyadic", "power-of-two"] = "real"
    accumulator_bits: int = Field(default=32, ge=8, le=64)
    memories: tuple[Memory, ...] = ()

    def allows(self, weight_bits: int, activation_bits: int) -> bool:
        """Whether a layer can run at that pair of widths."""
        if self.pairs:
            return (weight_bits, activation_bits) in self.pairs
        return weight_bits in self.weight_bits and activation_bits in self.activation_bits


class Measured(_Part):
    """On what, when and with what a table was measured."""

    device: str
    date: str = Field(description="ISO 8601, UTC")
    versions: dict[str, str] = Field(default_factory=dict, description="of the runtime, the driver, the model's file")
    warm_up: int = Field(default=0, ge=0, description="runs before the first that counts")
    repetitions: int = Field(default=1, ge=1)
    threads: int | None = None
    energy_from: str = Field(default="", description="the device's own counter; empty where there is none")
    notes: str = ""


class FittedRow(_Part):
    """One figure that parameters were fitted to, or that was kept apart to judge the fit."""

    name: str
    quantity: Literal["latency_s", "energy_j"]
    given: float
    predicted: float
    kept_apart: bool = False

    @property
    def residual(self) -> float:
        """Relative: predicted over given, minus one."""
        return self.predicted / self.given - 1


class Fit(_Part):
    """Which parameters were fitted to what, and how well."""

    parameters: tuple[str, ...] = Field(description="those that were free; nothing else was adjusted")
    to: str = Field(description="where the given figures come from")
    rows: tuple[FittedRow, ...] = ()


class Target(_Part):
    """One piece of hardware. `kind` names the file in `core/hardware/kinds/` that simulates it."""

    id: str = Field(min_length=1, max_length=80, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    name: str = Field(min_length=1, max_length=200)
    kind: str = Field(max_length=80)
    description: str = Field(max_length=2000)
    provenance: Provenance
    source: str = Field(
        min_length=1, max_length=4000, description="where the figures come from; what is fitted or reconstructed"
    )
    batch: int = Field(ge=1, le=4096, description="images per pass that a latency stands for")
    clock_hz: float | None = Field(default=None, gt=0, lt=1e12, description="None where cycles have no meaning")
    supports: Support = Support()
    parameters: dict[str, Any] = Field(default_factory=dict, description="of the kind, with units in the names")
    measured: Measured | None = Field(default=None, description="of a measured table")
    fit: Fit | None = Field(default=None, description="of parameters that were fitted to measurements")
