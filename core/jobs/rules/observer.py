"""What the chosen observer lets one set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.jobs.rules.fault import Fault
from core.jobs.rules.settings import settings_faults
from core.jobs.specification import JobSpecification


def observer_faults(specification: JobSpecification, cards: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    """Nothing for an observer that does not exist, which another rule tells."""
    choice = specification.calibration
    if choice.observer in cards:
        card = cards[choice.observer]
        yield from settings_faults(choice.settings, card["settings_schema"], card["title"], "calibration")
