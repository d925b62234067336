"""Which sensitivity metric to trust on this network: its rank correlation with the measured loss, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures import colours
from core.figures.figure import Cell, Figure, Json, inert
from core.figures.layouts import axis, empty, layout
from core.figures.reading import at, finite

MEASURED = "measured, with itself"
SIDES = (("weights", colours.SEARCH, 1), ("activations", colours.UNIFORM, 4))
COLUMNS = (
    "metric", "weights_rank_correlation", "weights_standard_error", "weights_layers",
    "activations_rank_correlation", "activations_standard_error", "activations_tensors",
    "seconds", "budget_s", "median_relative_error",
)  # fmt: skip
ROW_HEIGHT = 40  # pixels


def metrics(report: Json | None) -> Figure:
    """Bars of Spearman's rank correlation with their standard errors; the measurement with itself comes first."""
    title = "Sensitivity metrics beside the measured loss"
    comparison = at(report, "sensitivity", "comparison")
    if not comparison:
        return Figure(title, [], empty("No other metrics were compared in this job"), COLUMNS)
    rows = [_itself(comparison), *(_row(each) for each in comparison["metrics"])]
    return Figure(title, [_bars(rows, *side) for side in SIDES], _layout(title, rows, comparison), COLUMNS, rows)


def _itself(comparison: Json) -> list[Cell]:
    sides = [_cells(comparison.get(f"{side}_reliability")) for side, *_ in SIDES]
    return [MEASURED, *sides[0], *sides[1], finite(comparison.get("seconds")), None, None]


def _row(each: Json) -> list[Cell]:
    sides = [_cells(each.get(side)) for side, *_ in SIDES]
    numbers = [finite(each.get(name)) for name in ("seconds", "budget_s", "reached_error")]
    return [str(each["metric"]), *sides[0], *sides[1], *numbers]


def _cells(correlation: Json | None) -> list[Cell]:
    found = correlation or {}
    return [finite(found.get("value")), finite(found.get("standard_error")), found.get("count")]


def _bars(rows: Sequence[Sequence[Cell]], side: str, colour: str, first: int) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": side,
        "y": [inert(str(row[0])) for row in rows],
        "x": [row[first] for row in rows],
        "error_x": {"type": "data", "array": [row[first + 1] for row in rows], "thickness": 1, "width": 2},
        "marker": {"color": colour, "pattern": {"shape": "" if side == "weights" else "x", "size": 4}},
        "hovertext": [_hover(row, side, first) for row in rows],
        "hoverinfo": "text",
        "textposition": "none",
    }


def _hover(row: Sequence[Cell], side: str, first: int) -> str:
    value, error, count, seconds, reached = row[first], row[first + 1], row[first + 2], row[7], row[9]
    known = "too few to rank" if value is None else f"{value:+.2f} ± {error:.2f} over {count}"
    took = f"<br>{seconds:.1f} s" if isinstance(seconds, float) else ""
    unsure = f", standard error {100 * reached:.0f} % of the value" if isinstance(reached, float) else ""
    return f"{inert(str(row[0]))}<br>{side}: {known}{took}{unsure}"


def _layout(title: str, rows: Sequence[Sequence[Cell]], comparison: Json) -> dict[str, Any]:
    base = layout(
        title,
        barmode="group",
        bargap=0.3,
        height=110 + ROW_HEIGHT * len(rows),
        xaxis=axis("Spearman's rank correlation with the measured loss", range=[-1.05, 1.05], fixedrange=True),
        yaxis=axis("", autorange="reversed", automargin=True, fixedrange=True),
    )
    widths = f"{comparison.get('weight_bits')}/{comparison.get('activation_bits')} bits"
    note = f"one layer or tensor at a time at {widths}, {comparison.get('images')} images with labels"
    base["meta"] = {**base["meta"], "note": note}
    return base
