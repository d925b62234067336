"""What a constraint can bound, counted in integers so that every sum and every comparison is exact.

Latency is counted in clock cycles where every entry of the table is a whole number of them, else in picoseconds;
energy in picojoules, rounded up; size in bits; bit operations one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Literal

import numpy as np

from core.errors import InvalidSpecification
from core.graph.inventory import Layer
from core.hardware.cost_table import CostTable
from core.hardware.kind import FloatArray, IntArray
from core.jobs.specification import Constraint

MetricName = Literal["latency", "energy", "size", "bit-operations", "activation-bits"]
PICO = Fraction(1, 10**12)
UNITS: dict[str, dict[str, Fraction]] = {
    "latency": {"s": Fraction(1), "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6)},
    "energy": {"J": Fraction(1), "mJ": Fraction(1, 10**3), "uJ": Fraction(1, 10**6)},
    "size": {
        "B": Fraction(1), "kB": Fraction(10**3), "MB": Fraction(10**6),
        "KiB": Fraction(2**10), "MiB": Fraction(2**20), "bits": Fraction(1, 8),
    },
    "bit-operations": {"1": Fraction(1), "GBOP": Fraction(10**9)},
    "average-weight-bits": {"bits": Fraction(1), "1": Fraction(1)},
    "average-activation-bits": {"bits": Fraction(1), "1": Fraction(1)},
    "activation-memory": {
        "B": Fraction(1), "kB": Fraction(10**3), "MB": Fraction(10**6), "KiB": Fraction(2**10), "MiB": Fraction(2**20),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """A cost in the units of `UNITS`' ones: seconds, joules, bytes, bit operations. `target` for the first two."""

    name: MetricName
    target: str | None = None

    def __str__(self) -> str:
        return self.name if self.target is None else f"{self.name} on {self.target}"


@dataclass(frozen=True)
class Counted:
    """Costs [L, W, A] as integers; one of them is worth `quantum` seconds, joules, bytes or operations."""

    values: IntArray
    quantum: Fraction

    def amount(self, count: int) -> float:
        """A count in the metric's unit."""
        return float(count * self.quantum)


def exactly(number: float) -> Fraction:
    """The decimal number that a person wrote: 0.6 is three fifths, not the nearest binary fraction."""
    return Fraction(repr(float(number)))


def _whole(values: FloatArray) -> IntArray | None:
    rounded = np.rint(values)
    close = np.abs(values - rounded) <= 1e-9 * np.maximum(rounded, 1)
    return rounded.astype(np.int64) if close.all() else None


def _rounded_up(values: FloatArray, quantum: Fraction) -> IntArray:
    counts = values / float(quantum)
    return np.ceil(counts * (1 - 1e-12)).astype(np.int64)


def count_latency(table: CostTable) -> Counted:
    """Latency of one pass."""
    clock_hz = table.target.clock_hz
    cycles = None if clock_hz is None else _whole(table.latency_s * clock_hz)
    if clock_hz is not None and cycles is not None:
        return Counted(cycles, 1 / Fraction(clock_hz))
    return Counted(_rounded_up(table.latency_s, PICO), PICO)


def count_energy(table: CostTable) -> Counted:
    """Energy of one pass; refused where the target has no model of it."""
    if np.isnan(table.energy_j).any():
        raise InvalidSpecification(
            f"target {table.target.id!r} has no model of energy", hint="constrain its latency, or choose another target"
        )
    return Counted(_rounded_up(table.energy_j, PICO), PICO)


def count(metric: Metric, table: CostTable) -> Counted:
    """Any metric of a table as integers [L, W, A]."""
    if metric.name == "latency":
        return count_latency(table)
    if metric.name == "energy":
        return count_energy(table)
    if metric.name == "bit-operations":
        return Counted(table.bit_operations.astype(np.int64), Fraction(1))
    if metric.name == "activation-bits":
        widths = activation_elements(table.layers)[:, None, None] * np.array(table.activation_bits)
        return Counted(np.broadcast_to(widths, table.latency_s.shape), Fraction(1))
    bits = np.rint(table.size_bytes * 8).astype(np.int64)[:, :, None]
    return Counted(np.broadcast_to(bits, table.latency_s.shape), Fraction(1, 8))


def activation_elements(layers: Sequence[Layer]) -> IntArray:
    """Values of one image in the tensor that each layer reads; each tensor counts once, with its first reader."""
    readers = {layer.reads: position for position, layer in reversed(list(enumerate(layers)))}
    elements = np.zeros(len(layers), dtype=np.int64)
    for position in readers.values():
        elements[position] = prod(layers[position].input_shape)
    return elements


def bounded_metric(constraint: Constraint) -> Metric:
    """The metric whose sum a constraint bounds; average weight bits are a size over a fixed number of weights."""
    if constraint.metric == "activation-memory":
        raise ValueError("activation memory is a peak, not a sum")
    if constraint.metric == "average-weight-bits":
        return Metric("size")
    if constraint.metric == "average-activation-bits":
        return Metric("activation-bits")
    return Metric(constraint.metric, constraint.target if constraint.metric in ("latency", "energy") else None)


def unit_of(constraint: Constraint) -> Fraction:
    """What one of the constraint's unit is worth; refused where the unit measures something else."""
    units = UNITS[constraint.metric]
    if constraint.unit not in units:
        raise InvalidSpecification(
            f"{constraint.metric} is not measured in {constraint.unit}", hint=f"use one of {', '.join(units)}"
        )
    return units[constraint.unit]
