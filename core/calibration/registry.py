"""The observers, by id. A new observer is one file, and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.calibration.observers import aciq, kl, min_max, moving_average, mse, percentile
from core.calibration.observers.observer import Observer
from core.errors import InvalidSpecification

OBSERVERS: dict[str, Observer] = {
    observer.card.id: observer
    for observer in (
        mse.OBSERVER,
        min_max.OBSERVER,
        moving_average.OBSERVER,
        percentile.OBSERVER,
        kl.OBSERVER,
        aciq.OBSERVER,
    )
}


def observer_by_id(name: str, settings: Mapping[str, Any] | None = None) -> Observer:
    """The observer of that id, with these settings; InvalidSpecification if there is none, or they are not its own."""
    if name not in OBSERVERS:
        raise InvalidSpecification(f"there is no observer {name!r}", hint=f"choose from {sorted(OBSERVERS)}")
    return OBSERVERS[name].configured(settings or {})
