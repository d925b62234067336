"""What people measured themselves as one table, each beside what its point is said to cost and to reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from core.figures.figure import Cell, Figure, Json
from core.figures.own_measurements import PROVENANCE
from core.figures.reading import at, finite, measured, quality

TITLE: Final = "Measured by you"
_OWN = ("device", "date", "latency_s", "energy_j", "accuracy", "note")
COLUMNS: Final = (
    "candidate", "target", *_OWN, "provenance",
    "target_latency_s", "target_energy_j", "target_provenance", "target_batch",
    "report_accuracy", "report_accuracy_stage",
)  # fmt: skip


def own_table(candidates: Sequence[Json], report: Json | None) -> Figure:
    """One row for each measurement, in the candidates' order and by date. Seconds, joules, shares."""
    rows = [row for candidate in candidates for row in _rows(candidate, report)]
    columns = [name.replace("report_accuracy", f"report_{quality(report)}") for name in COLUMNS]
    return Figure(TITLE, [], {}, columns, rows)


def _rows(candidate: Json, report: Json | None) -> Iterator[list[Cell]]:
    accuracy, stage = measured(candidate, "accuracy")
    for measurement in candidate.get("measurements") or ():
        target = str(measurement.get("target"))
        said, facts = at(candidate, "costs", target) or {}, at(report, "costs", target) or {}
        own = [measurement.get(name) for name in _OWN]
        yield [
            str(candidate.get("name")), target, *own, PROVENANCE, finite(said.get("latency_s")),
            finite(said.get("energy_j")), said.get("provenance") or facts.get("provenance"), facts.get("batch"),
            accuracy, None if accuracy is None else stage,
        ]  # fmt: skip
