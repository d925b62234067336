"""The front: what is lost against what is saved.

Solid marks were evaluated on the report split, hollow ones are only predicted; a mark that another evaluated one
beats on both axes is faint. Where images have no labels, accuracy is the agreement with the float network, loss the
divergence from it, and the words say so. Predicted accuracy does not exist, so hollow marks have a loss and no
accuracy: on the accuracy axis they stand in a strip of their own beneath. Stars are what people measured themselves
(`core.figures.own_measurements`); their accuracies, which need labels, do not stand among agreements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from core.figures import colours
from core.figures.figure import Cell, Figure, Json, inert
from core.figures.layouts import axis as axis_layout
from core.figures.layouts import empty, layout
from core.figures.own_measurements import OwnMark, Place, own_marks, own_row, own_traces
from core.figures.quantities import COLUMNS, TITLES, Axis, Unit, unit_for
from core.figures.reading import at, cost, finite, limits, measured, quality, target_of
from core.search.pareto import knee

Value = Literal["accuracy", "loss"]
NAMES = {"search": "found by search", "uniform": "uniform", "own": "own policy", "float": "float"}
STRIP = 0.16  # share of the height that the predicted-only points take


@dataclass(frozen=True)
class Mark:
    """One candidate as it stands on the front. `x` in SI units; `y` is accuracy (0 to 1) or loss increase."""

    candidate: Json
    x: float
    y: float
    words: str
    evaluated: bool
    dominated: bool = False


@dataclass(frozen=True)
class View:
    """What is shown. `strip`: whether points that are only predicted stand beneath the others."""

    target: str | None
    axis: Axis
    value: Value
    unit: Unit
    strip: bool


def front(
    job: Json,
    candidates: Sequence[Json],
    report: Json | None,
    *,
    target: str | None = None,
    axis: Axis = "latency",
    value: Value = "accuracy",
) -> Figure:
    """Accuracy (or loss increase) over a cost, for every candidate that has both."""
    target = target_of(job, target)
    marks = marked_dominated(_marks(candidates, report, target, axis, value), value)
    title = f"{_heading(report, value)} over {TITLES[axis].lower()}"
    own = _own(candidates, report, target, axis, value)
    rows = [[*_row(mark, axis, value), _provenance(mark, report, target, axis), None, None] for mark in marks]
    rows += [own_row(mark, axis, value == "accuracy") for mark in own]
    columns = _columns(axis, value, quality(report))
    if not marks and not own:
        return Figure(title, [], empty("No point has been found yet"), columns, rows)
    strip = any(mark.place.below for mark in own) or (value == "accuracy" and any(not mark.evaluated for mark in marks))
    unit = unit_for(axis, [*(mark.x for mark in marks), *(mark.place.x for mark in own)])
    view = View(target, axis, value, unit, strip)
    figure_layout = _layout(title, report, view)
    figure_layout["shapes"], figure_layout["annotations"] = _lines(job, candidates, report, view)
    suggested = knee_of(marks, value)
    if suggested is not None:
        figure_layout["annotations"].append(_knee_note(suggested, view))
        figure_layout["meta"]["knee"] = str(suggested.candidate.get("id"))
    traces = [*_predicted_front(report, view), *_traces(marks, unit, value), *own_traces(own, unit)]
    return Figure(title, traces, figure_layout, columns, rows)


def knee_of(marks: Sequence[Mark], value: Value) -> Mark | None:
    """The mark at the knee of what was searched or brought and evaluated, else predicted; None for a short front."""
    own = [mark for mark in marks if mark.candidate.get("origin") != "uniform"]
    kept = [mark for mark in own if mark.evaluated] or own
    sign = 1.0 if value == "accuracy" and kept and kept[0].evaluated else -1.0
    position = knee([mark.x for mark in kept], [sign * mark.y for mark in kept])
    return None if position is None else kept[position]


def _knee_note(mark: Mark, view: View) -> dict[str, Any]:
    below = view.strip and not mark.evaluated
    return {
        "text": "suggested: knee",
        "x": view.unit.of(mark.x),
        "y": _shown(mark, view.value),
        "yref": "y2" if below else "y",
        "showarrow": True,
        "arrowhead": 0,
        "ax": 34,
        "ay": -22 if below or view.value == "loss" else 26,
        "font": {"size": 11, "color": colours.NEUTRAL},
    }


def _predicted_front(report: Json | None, view: View) -> list[dict[str, Any]]:
    """Every policy of the search's whole front, where it has one along the axis that is shown: predicted losses."""
    search = at(report, "search") or {}
    along = f"{view.axis} on {view.target}" if view.axis in ("latency", "energy") else view.axis
    found = search.get("predicted_front") or ()
    if view.value != "loss" or not found or search.get("axis") != along:
        return []
    best = knee([cost for cost, _ in found], [-loss for _, loss in found])
    mark = [] if best is None else [_knee_mark(found[best][0], found[best][1], view)]
    return [*mark, *_front_line(found, view)]


def _knee_mark(cost: float, loss: float, view: View) -> dict[str, Any]:
    where = f"%{{x:.4g}} {view.unit.name}<br>loss increase %{{y:.4g}}, predicted<extra></extra>"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "knee of the whole front",
        "x": [view.unit.of(cost)],
        "y": [loss],
        "marker": {"symbol": "hexagram-open", "size": 13, "color": colours.SEARCH, "line": {"width": 1.5}},
        "hovertemplate": f"knee of the whole front<br>{where}",
    }


def _front_line(found: Sequence[Sequence[float]], view: View) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "whole front, predicted",
            "x": [view.unit.of(cost) for cost, _ in found],
            "y": [loss for _, loss in found],
            "line": {"shape": "hv", "width": 1, "dash": "dot", "color": colours.SEARCH},
            "hovertemplate": f"%{{x:.4g}} {view.unit.name}<br>loss increase %{{y:.4g}}, predicted<extra></extra>",
        }
    ]


def _marks(candidates: Sequence[Json], report: Json | None, target: str | None, axis: Axis, value: Value) -> list[Mark]:
    found = []
    for candidate in candidates:
        x, y = cost(candidate, axis, target), _value(candidate, report, value)
        if x is not None and y is not None and candidate.get("origin") != "float":
            found.append(Mark(candidate, x, *y))
    return found


def _value(candidate: Json, report: Json | None, value: Value) -> tuple[float, str, bool] | None:
    """Accuracy or loss increase, in which state, and whether it was evaluated; None where nothing is known."""
    y, words = measured(candidate, value)
    if y is not None:
        reference = finite(at(report, "float", "report", "loss")) or 0.0
        return (y if value == "accuracy" else y - reference), words, True
    predicted = finite(at(candidate, "predicted", "loss_increase"))
    if predicted is None or candidate.get("state") in ("failed", "cancelled"):
        return None
    return predicted, words, False


def _own(
    candidates: Sequence[Json], report: Json | None, target: str | None, axis: Axis, value: Value
) -> list[OwnMark]:
    found, comparable = [], value == "accuracy" and quality(report) == "accuracy"
    for candidate in candidates:
        if candidate.get("origin") == "float":
            continue
        known = _value(candidate, report, value)
        y = None
        if known is not None:
            shown = 100 * known[0] if value == "accuracy" and known[2] else known[0]
            y = Place(0.0, shown, below=value == "accuracy" and not known[2])
        found += own_marks(
            candidate,
            target,
            axis,
            comparable,
            cost(candidate, axis, target),
            y,
        )
    return found


def marked_dominated(marks: Sequence[Mark], value: Value) -> list[Mark]:
    """Marks with `dominated` set, by one sweep over rising cost (Kung, Luccio and Preparata 1975, two dimensions)."""
    sign = 1.0 if value == "accuracy" else -1.0
    best, front = float("-inf"), set()
    for mark in sorted((mark for mark in marks if mark.evaluated), key=lambda mark: (mark.x, -sign * mark.y)):
        if sign * mark.y > best:
            best = sign * mark.y
            front.add((mark.x, mark.y))
    return [replace(mark, dominated=mark.evaluated and (mark.x, mark.y) not in front) for mark in marks]


def _traces(marks: Sequence[Mark], unit: Unit, value: Value) -> list[dict[str, Any]]:
    on_front = sorted((mark for mark in marks if mark.evaluated and not mark.dominated), key=lambda mark: mark.x)
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [unit.of(mark.x) for mark in on_front],
        "y": [_shown(mark, value) for mark in on_front],
        "line": {"shape": "hv", "width": 1.5, "color": colours.SEARCH},
        "hoverinfo": "skip",
    }

    def kind(mark: Mark) -> tuple[str, bool, bool]:
        return str(mark.candidate.get("origin")), mark.evaluated, not mark.dominated

    groups = groupby(sorted(marks, key=kind, reverse=True), key=kind)
    return [line, *(_scatter(origin, list(group), unit, value) for (origin, _, _), group in groups)]


def _scatter(origin: str, marks: Sequence[Mark], unit: Unit, value: Value) -> dict[str, Any]:
    evaluated, dominated = marks[0].evaluated, marks[0].dominated
    state = ", dominated" if dominated else "" if evaluated else ", predicted"
    colour, symbol = colours.ORIGINS.get(origin, colours.OWN), colours.SYMBOLS.get(origin, "square")
    return {
        "type": "scatter",
        "mode": "markers",
        "name": NAMES.get(origin, "other") + state,
        "x": [unit.of(mark.x) for mark in marks],
        "y": [_shown(mark, value) for mark in marks],
        "yaxis": "y" if evaluated or value == "loss" else "y2",
        "ids": [str(mark.candidate.get("id")) for mark in marks],
        "customdata": [str(mark.candidate.get("id")) for mark in marks],
        "hovertext": [_hover(mark, unit, value) for mark in marks],
        "hoverinfo": "text",
        "cliponaxis": False,
        "marker": {
            "symbol": symbol if evaluated else f"{symbol}-open",
            "size": 11 if origin == "search" else 10,
            "color": colour,
            "opacity": 0.35 if dominated else 1.0,
            "line": {"width": 0 if evaluated else 2, "color": colour},
        },
    }


def _shown(mark: Mark, value: Value) -> float:
    return 100 * mark.y if mark.evaluated and value == "accuracy" else mark.y


def _hover(mark: Mark, unit: Unit, value: Value) -> str:
    accuracy = f"{100 * mark.y:.2f} % {mark.words}"
    loss = f"loss increase {mark.y:.4g}, {mark.words}"
    first = accuracy if mark.evaluated and value == "accuracy" else loss
    lines = [inert(str(mark.candidate.get("name"))), first, unit.text(mark.x)]
    return "<br>".join(lines + (["beaten by another point"] if mark.dominated else []))


def _heading(report: Json | None, value: Value) -> str:
    labelled = quality(report) == "accuracy"
    if value == "accuracy":
        return "Accuracy" if labelled else "Agreement with float"
    return "Loss increase" if labelled else "Divergence from float"


def _layout(title: str, report: Json | None, view: View) -> dict[str, Any]:
    heading = f"{_heading(report, view.value)} {'on the report split (%)' if view.value == 'accuracy' else '(nats)'}"
    if view.value == "loss" and quality(report) == "accuracy":
        heading = "Loss increase over float (nats)"
    cost_axis = axis_layout(_cost_title(report, view), rangemode="tozero", anchor="y2" if view.strip else "y")
    value_axis = axis_layout(heading, domain=[STRIP + 0.06, 1] if view.strip else [0, 1])
    figure_layout = layout(title, height=460, xaxis=cost_axis, yaxis=value_axis)
    if view.strip:
        figure_layout["yaxis2"] = axis_layout(
            "Predicted<br>loss", domain=[0, STRIP], rangemode="tozero", nticks=2, tickfont={"size": 10}
        )
    return figure_layout


def _cost_title(report: Json | None, view: View) -> str:
    title, unit = TITLES[view.axis], view.unit.name
    if view.axis in ("size", "bit-operations"):
        return f"{title} ({unit}{', weights packed' if view.axis == 'size' else ' for one image'})"
    facts = at(report, "costs", view.target or "") or {}
    batch = f" for a batch of {facts['batch']}" if facts.get("batch") else ""
    provenance = f", {facts['provenance']}" if facts.get("provenance") else ""
    return f"{title} on {inert(str(facts.get('name') or view.target))} ({unit}{batch}{provenance})"


def _lines(
    job: Json, candidates: Sequence[Json], report: Json | None, view: View
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The float network as a dotted line across, the constraint as a dashed line upwards."""
    shapes, notes = [], []
    accuracy = finite(at(report, "float", "report", "accuracy"))
    level = 0.0 if view.value == "loss" else (None if accuracy is None else 100 * accuracy)
    if level is not None:
        text = "float" if view.value == "loss" else f"float {level:.2f} %"
        shapes.append(_line(xref="paper", x0=0, x1=1, y0=level, y1=level, dash="dot"))
        notes.append(_note(text, xref="paper", x=1, y=level, xanchor="right", yanchor="bottom"))
    base = STRIP + 0.07 if view.strip else 0.01
    for limit in limits(job, candidates, view.axis, view.target):
        x, text = limit / view.unit.size, f"at most {view.unit.text(limit)}"
        shapes.append(_line(yref="paper", x0=x, x1=x, y0=0, y1=1, dash="dash"))
        notes.append(_note(text, yref="paper", x=x, y=base, xanchor="left", yanchor="bottom"))
    return shapes, notes


def _line(dash: str, **place: Any) -> dict[str, Any]:
    return {"type": "line", "line": {"dash": dash, "width": 1.5, "color": colours.NEUTRAL}, **place}


def _note(text: str, **place: Any) -> dict[str, Any]:
    return {"text": text, "showarrow": False, "font": {"size": 11, "color": colours.NEUTRAL}, **place}


def _columns(axis: Axis, value: Value, metric: str) -> list[str]:
    return ["candidate", "origin", COLUMNS[axis], metric if value == "accuracy" else "loss_increase",
            "predicted_loss_increase", "state", "dominated", "provenance", "device", "date"]  # fmt: skip


def _provenance(mark: Mark, report: Json | None, target: str | None, axis: Axis) -> str | None:
    """Of the cost: simulated, from a table, or measured; sizes and operations are counted."""
    if axis in ("size", "bit-operations"):
        return "counted"
    said = at(mark.candidate, "costs", target or "", "provenance") or at(report, "costs", target or "", "provenance")
    return None if said is None else str(said)


def _row(mark: Mark, axis: Axis, value: Value) -> list[Cell]:
    predicted = finite(at(mark.candidate, "predicted", "loss_increase"))
    shown = mark.y if mark.evaluated or value == "loss" else None
    name, origin = str(mark.candidate.get("name")), str(mark.candidate.get("origin"))
    return [name, origin, mark.x, shown, predicted, mark.words, mark.dominated]
