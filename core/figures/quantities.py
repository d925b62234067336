"""Quantities with their units: SI inside, a unit that reads well at the edge. MB is 10^6 bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Axis = Literal["latency", "energy", "size", "bit-operations"]

UNITS: Final[dict[str, tuple[tuple[float, str], ...]]] = {
    "latency": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "energy": ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")),
    "size": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "bit-operations": ((1e12, "TBOP"), (1e9, "GBOP"), (1e6, "MBOP"), (1e3, "kBOP"), (1.0, "BOP")),
}
TITLES: Final = {"latency": "Latency", "energy": "Energy", "size": "Size", "bit-operations": "Bit operations"}
COLUMNS: Final = {
    "latency": "latency_s",
    "energy": "energy_j",
    "size": "size_bytes",
    "bit-operations": "bit_operations",
}
CONSTRAINT_UNITS: Final = {
    "s": 1.0, "ms": 1e-3, "us": 1e-6, "J": 1.0, "mJ": 1e-3, "uJ": 1e-6,
    "B": 1.0, "kB": 1e3, "MB": 1e6, "KiB": 1024.0, "MiB": 1024.0**2, "GBOP": 1e9, "1": 1.0, "bits": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """`name` of the unit and its size in SI units (seconds, joules, bytes, bit operations)."""

    size: float
    name: str

    def of(self, value: float | None) -> float | None:
        """A value in SI units, in this unit."""
        return None if value is None else value / self.size

    def text(self, value: float) -> str:
        """Three significant digits and the unit, as in `4.12 ms`."""
        return f"{value / self.size:.3g} {self.name}"


def unit_for(axis: str, values: Iterable[float | None]) -> Unit:
    """The largest unit in which the largest value is at least 1.

    >>> unit_for("latency", [0.0041, 0.0007]).name
    'ms'
    """
    largest = max((value for value in values if value is not None), default=0.0)
    for size, name in UNITS[axis]:
        if largest >= size:
            return Unit(size, name)
    return Unit(*UNITS[axis][1])
