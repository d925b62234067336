"""The ways of rounding, by id, and which quantization methods they work with."""

from __future__ import annotations

from core.calibration.rounding import adaround, brecq, gpfq, gptq, nearest, qdrop
from core.calibration.rounding.card import has_fixed_grid
from core.calibration.rounding.task import Rounding
from core.errors import InvalidSpecification
from core.quantizers.card import MethodCard

ROUNDINGS: dict[str, Rounding] = {
    rounding.card.id: rounding
    for rounding in (
        nearest.ROUNDING,
        adaround.ROUNDING,
        brecq.ROUNDING,
        qdrop.ROUNDING,
        gptq.ROUNDING,
        gpfq.ROUNDING,
    )
}


def rounding_by_id(name: str) -> Rounding:
    """The rounding of that id; InvalidSpecification if there is none."""
    if name not in ROUNDINGS:
        raise InvalidSpecification(f"there is no rounding {name!r}", hint=f"choose from {sorted(ROUNDINGS)}")
    return ROUNDINGS[name]


def fits(rounding: str, method: MethodCard) -> bool:
    """Whether the method's weights can be put on levels of choice."""
    return rounding == nearest.CARD.id or has_fixed_grid(method)


__all__ = ["ROUNDINGS", "fits", "rounding_by_id"]
