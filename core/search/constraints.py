"""Constraints as integer bounds on sums of integer costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from core.hardware.target import Target
from core.jobs.specification import Constraint
from core.search.metrics import Counted, Metric, bounded_metric, exactly, unit_of

BASELINE_PREFIX = "uniform-"


@dataclass(frozen=True)
class BoundConstraint:
    """A constraint, the metric it bounds, and the bound as a count of that metric's quanta.

    `unit` is what one of the stated unit is worth in quanta, so that counts can be told as the person stated them.
    `because` says whose constraint it is where no person stated it.
    """

    stated: Constraint
    metric: Metric
    bound: int
    unit: Fraction
    because: str = ""

    def __str__(self) -> str:
        stated = f"{self.subject} at most {self.tell(Fraction(repr(self.stated.at_most)) * self.unit)}"
        return f"{stated} ({self.because})" if self.because else stated

    @property
    def subject(self) -> str:
        """What is bounded, and where."""
        return f"{self.stated.metric} on {self.metric.target}" if self.metric.target else self.stated.metric

    def in_unit(self, count: int | Fraction) -> float:
        """A count in the stated unit, or as a ratio to the stated baseline."""
        return float(Fraction(count) / self.unit)

    def tell(self, count: int | Fraction) -> str:
        """A count for people."""
        amount = f"{self.in_unit(count):.6g}"
        return f"{amount} of {self.stated.relative_to}" if self.stated.relative_to else f"{amount} {self.stated.unit}"


def baseline_bits(constraint: Constraint) -> int | None:
    """The width of the uniform baseline that a constraint is relative to."""
    return int(constraint.relative_to.removeprefix(BASELINE_PREFIX)) if constraint.relative_to else None


def memory_constraints(targets: Sequence[Target]) -> list[tuple[Constraint, str]]:
    """What the memories that hold all weights demand, each with the memory's name."""
    return [
        (Constraint(metric="size", at_most=memory.size_bytes, unit="B"), f"{memory.name} of {target.id}")
        for target in targets
        for memory in target.supports.memories
        if memory.holds == "network-weights"
    ]


def bind(
    constraint: Constraint, counted: Counted, baseline_count: int | None, values: int, because: str = ""
) -> BoundConstraint:
    """`baseline_count` is the baseline's sum where there is one; `values` how many weights, or activations, a mean is
    over.
    """
    if baseline_count is not None:
        unit = Fraction(baseline_count)
    elif constraint.metric in ("average-weight-bits", "average-activation-bits"):
        unit = unit_of(constraint) * values
    else:
        unit = unit_of(constraint) / counted.quantum
    bound = floor(exactly(constraint.at_most) * unit)
    return BoundConstraint(constraint, bounded_metric(constraint), bound, unit, because)
