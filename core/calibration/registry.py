"""The observers, by id."""

from __future__ import annotations

from core.calibration.observers import OBSERVERS, Observer
from core.errors import InvalidSpecification


def observer_by_id(name: str) -> Observer:
    """The observer of that id; InvalidSpecification if there is none."""
    if name not in OBSERVERS:
        raise InvalidSpecification(f"there is no observer {name!r}", hint=f"choose from {sorted(OBSERVERS)}")
    return OBSERVERS[name]


__all__ = ["OBSERVERS", "observer_by_id"]
