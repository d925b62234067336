"""What a target can reach at a pair of widths at most: the roof over its layers in a roofline."""

from __future__ import annotations

from core.hardware.kind import Envelope, KnowsEnvelope
from core.hardware.kinds.registry import kind_of
from core.hardware.run_as import run_as
from core.hardware.target import Target


def envelope_of(target: Target, weight_bits: int, activation_bits: int) -> Envelope | None:
    """At the pair that the target runs these widths as; None where its kind does not know."""
    kind = kind_of(target)
    if not isinstance(kind, KnowsEnvelope):
        return None
    return kind.envelope(target, *run_as(target.supports, weight_bits, activation_bits))
