"""Strategies beside each other on one network: their fronts, and how much of the plane each dominated by when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures.figure import Cell, Figure, Json, inert
from core.figures.layouts import axis, empty, layout
from core.figures.quantities import COLUMNS, TITLES, Unit, unit_for
from core.figures.reading import at, finite

# Okabe and Ito's palette, and a shape and a dash each: no strategy is told by its colour alone.
STYLES = (
    ("#0072b2", "circle", "solid"),
    ("#d55e00", "diamond", "dash"),
    ("#009e73", "square", "dot"),
    ("#cc79a7", "triangle-up", "dashdot"),
    ("#e69f00", "cross", "longdash"),
    ("#56b4e9", "x", "longdashdot"),
    ("#8a919c", "star", "solid"),
)
NOTHING = "No other strategies were compared in this job"


def strategies(report: Json | None) -> Figure:
    """The front of each strategy: predicted loss, or what is classified wrongly, over the cost on the axis."""
    title = "Fronts by strategy"
    comparison = at(report, "search", "comparison")
    name, _ = axis_of(comparison or {})
    columns = ["strategy", COLUMNS[name], "predicted_loss_increase", "select_error"]
    if not comparison:
        return Figure(title, [], empty(NOTHING), columns)
    outcomes = comparison["outcomes"]
    unit = unit_for(name, [point["axis_cost"] for each in outcomes for point in each["front"]])
    rows: list[list[Cell]] = [
        [each["title"], point["axis_cost"], point["predicted_loss"], point["measured_error"]]
        for each in outcomes
        for point in each["front"]
    ]
    is_error = comparison.get("tells") == "error"
    data = [_front(each, position, unit, is_error) for position, each in enumerate(outcomes) if each["front"]]
    heading = "Wrong on select after calibration (%)" if is_error else "Predicted loss increase (nats)"
    figure_layout = _layout(title, _cost_title(comparison, unit), heading)
    if not is_error and all(finite(point["predicted_loss"]) for each in outcomes for point in each["front"]):
        figure_layout["yaxis"].update(type="log", rangemode="normal")  # losses differ by ratios
    return Figure(title, data, figure_layout, columns, rows)


def hypervolumes(report: Json | None) -> Figure:
    """The share of the box between ideal point and reference that each strategy dominated, over its evaluations."""
    title = "Hypervolume over evaluations"
    columns = ["strategy", "evaluations", "hypervolume_share"]
    comparison = at(report, "search", "comparison")
    if not comparison:
        return Figure(title, [], empty(NOTHING), columns)
    outcomes = [each for each in comparison["outcomes"] if finite(each.get("hypervolume")) is not None]
    allowed = int(comparison["evaluations"])
    rows: list[list[Cell]] = [[each["title"], *moment] for each in outcomes for moment in _course(each, allowed)]
    data = [_line(each, position, allowed) for position, each in enumerate(comparison["outcomes"]) if each in outcomes]
    figure_layout = _layout(title, "Evaluations", "Hypervolume (share of the box)")
    figure_layout["xaxis"]["type"] = "log"
    figure_layout["yaxis"]["rangemode"] = "normal"
    return Figure(title, data, figure_layout, columns, rows)


def axis_of(comparison: Json) -> tuple[str, str]:
    """The quantity of a search's axis, and where it is counted.

    >>> axis_of({"axis": "latency on bismo-cloud"}), axis_of({"axis": "size"})
    (('latency', 'bismo-cloud'), ('size', ''))
    """
    name, _, target = str(comparison.get("axis") or "latency").partition(" on ")
    return name, target


def _course(outcome: Json, allowed: int) -> list[tuple[int, float]]:
    """One that asks about no policy has what it has from the first evaluation on."""
    course = [(int(used), float(share)) for used, share in outcome.get("course") or ()]
    return course or [(1, float(outcome["hypervolume"])), (max(allowed, 2), float(outcome["hypervolume"]))]


def _front(outcome: Json, position: int, unit: Unit, is_error: bool) -> dict[str, Any]:
    colour, symbol, dash = STYLES[position % len(STYLES)]
    points = sorted(outcome["front"], key=lambda point: point["axis_cost"])
    shown = [_shown(point, is_error) for point in points]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": inert(str(outcome["title"])),
        "x": [unit.of(point["axis_cost"]) for point in points],
        "y": shown,
        "line": {"color": colour, "dash": dash, "width": 1.5, "shape": "hv"},
        "marker": {"color": colour, "symbol": f"{symbol}-open", "size": 9, "line": {"width": 2}},
        "hovertext": [_hover(outcome, point, unit) for point in points],
        "hoverinfo": "text",
    }


def _shown(point: Json, is_error: bool) -> float | None:
    error = finite(point.get("measured_error"))
    if not is_error:
        return finite(point["predicted_loss"])
    return None if error is None else 100 * error


def _hover(outcome: Json, point: Json, unit: Unit) -> str:
    error = finite(point.get("measured_error"))
    lines = [inert(str(outcome["title"])), unit.text(point["axis_cost"]),
             f"predicted loss increase {point['predicted_loss']:.4g}"]  # fmt: skip
    return "<br>".join(lines + ([] if error is None else [f"{100 * error:.2f} % wrong on select"]))


def _line(outcome: Json, position: int, allowed: int) -> dict[str, Any]:
    colour, _, dash = STYLES[position % len(STYLES)]
    course = _course(outcome, allowed)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": inert(str(outcome["title"])),
        "x": [used for used, _ in course],
        "y": [share for _, share in course],
        "line": {"color": colour, "dash": dash, "width": 2},
        "hovertext": [f"{inert(str(outcome['title']))}<br>{used} evaluations: {share:.4f}" for used, share in course],
        "hoverinfo": "text",
    }


def _cost_title(comparison: Json, unit: Unit) -> str:
    name, target = axis_of(comparison)
    return f"{TITLES[name]}{f' on {inert(target)}' if target else ''} ({unit.name})"


def _layout(title: str, cost: str, value: str) -> dict[str, Any]:
    legend: dict[str, Sequence[str] | str | float] = {"orientation": "h", "x": 0, "y": -0.28, "yanchor": "top"}
    base = layout(title, height=360, xaxis=axis(cost), yaxis=axis(value, rangemode="tozero"), legend=legend)
    base["margin"] = {**base["margin"], "t": 16, "b": 110}
    return base
