"""Where the time goes: latency of each layer on a target, coloured by what binds it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures import colours
from core.figures.figure import Cell, Figure, Json, inert
from core.figures.layouts import axis, empty, layer_layout
from core.figures.quantities import Unit, unit_for
from core.figures.reading import at, find, finite, layer_names, target_of

COLUMNS = ("layer", "latency_s", "share", "bound_by")


def latency(
    job: Json, candidates: Sequence[Json], report: Json | None, target: str | None = None, candidate: str | None = None
) -> Figure:
    """Latency per layer of one candidate, in execution order, one series for each thing that binds."""
    target, chosen = target_of(job, target), find(candidates, candidate)
    layers = at(chosen, "costs", target or "", "layers")
    if chosen is None or not layers:
        return Figure("Latency per layer", [], empty("The cost table has not been computed yet"), COLUMNS)
    names = layer_names(report, [chosen])
    rows = _rows(names, {layer["name"]: layer for layer in layers})
    unit = unit_for("latency", [finite(row[1]) for row in rows])
    title = f"Latency per layer of {chosen.get('name')} on {target}"
    return Figure(title, _traces(rows, unit), _layout(title, names, report, target, unit), COLUMNS, rows)


def _rows(names: Sequence[str], by_name: Json) -> list[list[Cell]]:
    seconds = [finite(at(by_name, name, "latency_s")) for name in names]
    total = sum(second or 0.0 for second in seconds)
    return [
        [name, second, second / total if second is not None and total > 0 else None, at(by_name, name, "bound_by")]
        for name, second in zip(names, seconds, strict=True)
    ]


def _traces(rows: Sequence[Sequence[Cell]], unit: Unit) -> list[dict[str, Any]]:
    causes = sorted({str(row[3]) for row in rows if row[1] is not None})
    return [_bars(rows, cause, colours.of_bound(cause), unit) for cause in causes]


def _bars(rows: Sequence[Sequence[Cell]], cause: str, colour: str, unit: Unit) -> dict[str, Any]:
    chosen = [(index, row) for index, row in enumerate(rows) if row[1] is not None and str(row[3]) == cause]
    return {
        "type": "bar",
        "name": f"bound by {inert(cause)}" if cause != "None" else "cause unknown",
        "x": [index for index, _ in chosen],
        "y": [unit.of(finite(row[1])) for _, row in chosen],
        "marker": {"color": colour},
        "hovertext": [_hover(row, unit) for _, row in chosen],
        "hoverinfo": "text",
        "textposition": "none",
    }


def _hover(row: Sequence[Cell], unit: Unit) -> str:
    share = f", {100 * float(row[2]):.1f} % of all" if row[2] is not None else ""
    return f"{inert(str(row[0]))}<br>{unit.text(finite(row[1]) or 0.0)}{share}<br>bound by {inert(str(row[3]))}"


def _layout(title: str, names: Sequence[str], report: Json | None, target: str | None, unit: Unit) -> dict[str, Any]:
    provenance = at(report, "costs", target or "", "provenance")
    heading = f"{unit.name}{', ' + provenance if provenance else ''}"
    return layer_layout(title, names, 190, barmode="stack", yaxis=axis(heading, fixedrange=True, nticks=5))
