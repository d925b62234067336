"""What every kind of accelerator answers: latency, energy and what bounds each layer, for any widths. No torch.

A kind is one file that ends with a constant `KIND`, listed in `core/hardware/kinds.py`. It simulates many layers at
many pairs of widths in one call, so that a table is arrays from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from core.graph.inventory import Layer
from core.hardware.target import Target

MAX_BITS = 32
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class KindCard(BaseModel):
    """A kind of accelerator for people: where its model comes from and what was reconstructed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    bounds: tuple[str, ...]
    notes: str
    parameters_schema: dict[str, Any]


@dataclass(frozen=True)
class Simulation:
    """L layers x W weight widths x A activation widths, for one pass of the target's batch.

    `latency_s` and `energy_j` [L, W, A]; energy is NaN where a kind has no model of it.
    `bound_by` [L, W, A] indexes the card's `bounds`.
    """

    latency_s: FloatArray
    energy_j: FloatArray
    bound_by: NDArray[np.uint8]


class Kind(Protocol):
    """One kind of accelerator."""

    @property
    def card(self) -> KindCard:
        """What a person reads about it."""

    def check(self, target: Target) -> None:
        """Raise ConfigurationError where the target's parameters are not those of this kind."""

    def simulate(
        self, target: Target, layers: Sequence[Layer], weight_bits: Sequence[int], activation_bits: Sequence[int]
    ) -> Simulation:
        """Every layer at every pair of widths from 1 to 32."""

    def simulate_channels(
        self, target: Target, layer: Layer, channel_bits: Sequence[int], activation_bits: int
    ) -> Simulation:
        """One layer with a width per output channel, 0 for a pruned one; arrays of shape [1, 1, 1]."""
