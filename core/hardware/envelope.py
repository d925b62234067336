"""What a target can reach at a pair of widths at most: the roof over its layers (Williams et al., CACM 2009).

A kind that knows its peak and its bandwidth says so in a method `envelope`; of others only what layers achieve is
known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from core.hardware.kinds.registry import kind_of
from core.hardware.run_as import run_as
from core.hardware.target import Target


@dataclass(frozen=True)
class Envelope:
    """Multiply-accumulates per second at most, and bytes per second of weights and activations together; None: not
    given. `words` says in a few words what it stands for.
    """

    macs_per_s: float
    bytes_per_s: float | None
    words: str


@runtime_checkable
class HasEnvelope(Protocol):
    """A kind that knows its peak."""

    def envelope(self, target: Target, weight_bits: int, activation_bits: int) -> Envelope:
        """At a pair of widths that the target runs."""


def envelope_of(target: Target, weight_bits: int, activation_bits: int) -> Envelope | None:
    """At the pair that the target runs these widths as; None where the kind does not know."""
    kind = kind_of(target)
    if not isinstance(kind, HasEnvelope):
        return None
    return kind.envelope(target, *run_as(target.supports, weight_bits, activation_bits))
