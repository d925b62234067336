"""What every kind of accelerator answers: latency, energy and what bounds each layer, for any widths. No torch.

A kind is one file in `core/hardware/kinds/` that ends with a constant `KIND`, listed in `kinds/registry.py`. It
simulates many layers at many pairs of widths in one call, so that a table is arrays from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.target import Target

MAX_BITS = 32
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Bound = Literal["compute", "weights", "activations", "write-back", "fixed", "unknown"]


class KindCard(BaseModel):
    """A kind of accelerator for people: where its model comes from and what was reconstructed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    bounds: tuple[Bound, ...] = Field(description="what can bound a layer: the weights' or activations' traffic, ...")
    formula: str = Field(description="latency and energy of a layer in a few lines, with the parameters' names")
    notes: str = Field(description="what is published, what is reconstructed, what is left out")
    monotone: bool = Field(description="whether fewer bits never cost more; tested for any layer")
    exceptions: str = Field(default="", description="where they may, and why")
    free_parameters: tuple[str, ...] = Field(
        default=(), description="positive figures that can be fitted to measurements"
    )
    parameters_schema: dict[str, Any]


class Fact(BaseModel):
    """Something that follows from a target's parameters and is good to know: a peak, an area."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Simulation:
    """L layers x W weight widths x A activation widths, for one pass of the target's batch.

    `latency_s` and `energy_j` [L, W, A]; energy is NaN where a kind has no model of it.
    `bound_by` [L, W, A] indexes the card's `bounds`.
    """

    latency_s: FloatArray
    energy_j: FloatArray
    bound_by: NDArray[np.uint8]


NOTHING = Simulation(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)), np.zeros((1, 1, 1), dtype=np.uint8))


class Kind(Protocol):
    """One kind of accelerator."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""

    def check(self, target: Target) -> None:
        """Raise InvalidInput where the target's parameters are not those of this kind, or cannot be built."""

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel, 0 for a pruned one; arrays of shape [1, 1, 1]."""


@runtime_checkable
class CoversSome(Protocol):
    """A kind that knows some layers and pairs of widths only, such as a table of measurements."""

    def check_covers(self, target: Target, layers: Sequence[Layer], pairs: Sequence[tuple[int, int]]) -> None:
        """InvalidInput names the first layer and pair (weights, activations) that it cannot answer for."""

    def interpolated(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> NDArray[np.bool_]:
        """Which figures of `simulate` lie between measured ones, [L, W, A]."""

    def note(self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int) -> str | None:
        """What of a layer's cost is not as measured, for people; None where all of it is."""


@runtime_checkable
class KnowsFacts(Protocol):
    """A kind that can tell what follows from its parameters."""

    def facts(self, target: Target) -> tuple[Fact, ...]:
        """Peaks, resources and the like, each with its unit and where the formula comes from."""


@dataclass(frozen=True)
class Envelope:
    """The roof over all layers at a pair of widths (Williams et al., CACM 2009): multiply-accumulates per second at
    most, and bytes per second of weights and activations together; None: not given. `words` says what they stand for.
    """

    macs_per_s: float
    bytes_per_s: float | None
    words: str


@runtime_checkable
class KnowsEnvelope(Protocol):
    """A kind that knows its peak."""

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """At a pair of widths that the target runs."""


def checked_widths(bits: Sequence[int]) -> IntArray:
    """Widths as an array; InvalidInput where one is not from 1 to 32."""
    widths = np.asarray(bits, dtype=np.int64)
    if widths.size == 0 or widths.min() < 1 or widths.max() > MAX_BITS:
        raise InvalidInput(f"widths {sorted(set(bits))} cannot be costed", hint=f"use widths from 1 to {MAX_BITS}")
    return widths
