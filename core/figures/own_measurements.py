"""What people measured on devices of their own, drawn on the front beside the simulated point.

A measurement stands where its own figures put it; what it does not say (a latency without an accuracy, an accuracy
without a latency) it takes over from its candidate. A thin line joins both. On the fronts of latency and energy it
stands on that of its own target alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.figures import colours
from core.figures.figure import Cell, Json, inert
from core.figures.quantities import COLUMNS, Axis, Unit, unit_for
from core.figures.reading import finite

NAME = "measured by you"
PROVENANCE = "measured"
COSTS: Final[tuple[Axis, ...]] = ("latency", "energy")


@dataclass(frozen=True)
class Place:
    """Where something stands: `x` in SI units, `y` as on its axis, `below` in the strip of what is only predicted."""

    x: float
    y: float
    below: bool = False


@dataclass(frozen=True)
class OwnMark:
    """A measurement, where it stands, and where its candidate does; None where the candidate stands nowhere."""

    candidate: Json
    measurement: Json
    place: Place
    beside: Place | None


def own_marks(
    candidate: Json, target: str | None, axis: Axis, accuracy_axis: bool, x: float | None, y: Place | None
) -> list[OwnMark]:
    """The measurements of a candidate that say something on these axes.

    `x` is the candidate's own cost, `y` holds its own accuracy (in percent) or loss; either may be unknown.
    """
    beside = None if x is None or y is None else Place(x, y.y, y.below)
    found = []
    for measurement in candidate.get("measurements") or ():
        if axis in COSTS and measurement.get("target") != target:
            continue
        cost = finite(measurement.get(COLUMNS[axis]))
        accuracy = finite(measurement.get("accuracy")) if accuracy_axis else None
        if cost is None and accuracy is None:
            continue
        own_x = x if cost is None else cost
        own_y = y if accuracy is None else Place(0.0, 100 * accuracy)
        if own_x is not None and own_y is not None:
            found.append(OwnMark(candidate, measurement, Place(own_x, own_y.y, own_y.below), beside))
    return found


def own_traces(marks: Sequence[OwnMark], unit: Unit) -> list[dict[str, Any]]:
    """Thin lines to the simulated points, and a star for each measurement."""
    lines = [_lines([mark for mark in marks if mark.place.below == below], below, unit) for below in (False, True)]
    stars = [_stars([mark for mark in marks if mark.place.below == below], below, unit) for below in (False, True)]
    return [trace for trace in (*lines, *stars) if trace["x"]]


def _lines(marks: Sequence[OwnMark], below: bool, unit: Unit) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    for mark in marks:
        if mark.beside is not None and mark.beside.below == below:  # no line leads from one axis to another
            x += [unit.of(mark.beside.x), unit.of(mark.place.x), None]
            y += [mark.beside.y, mark.place.y, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{NAME}, lines",
        "x": x,
        "y": y,
        "yaxis": _axis(below),
        "line": {"width": 1, "color": colours.MEASURED},
        "hoverinfo": "skip",
        "showlegend": False,
        "cliponaxis": False,
    }


def _stars(marks: Sequence[OwnMark], below: bool, unit: Unit) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": NAME,
        "x": [unit.of(mark.place.x) for mark in marks],
        "y": [mark.place.y for mark in marks],
        "yaxis": _axis(below),
        "ids": [str(mark.measurement.get("id")) for mark in marks],
        "customdata": [str(mark.candidate.get("id")) for mark in marks],
        "hovertext": [_hover(mark) for mark in marks],
        "hoverinfo": "text",
        "cliponaxis": False,
        "marker": {"symbol": "star", "size": 13, "color": colours.MEASURED, "line": {"width": 0}},
    }


def _axis(below: bool) -> str:
    return "y2" if below else "y"


def own_row(mark: OwnMark, axis: Axis, accuracy_axis: bool) -> list[Cell]:
    """A line of the front's table: only what was measured."""
    measurement = mark.measurement
    accuracy = finite(measurement.get("accuracy")) if accuracy_axis else None
    name, origin = str(mark.candidate.get("name")), str(mark.candidate.get("origin"))
    device, day = str(measurement.get("device")), str(measurement.get("date"))
    return [name, origin, finite(measurement.get(COLUMNS[axis])), accuracy, None, NAME, None, PROVENANCE, device, day]


def _hover(mark: OwnMark) -> str:
    """Only what was measured; what was taken over from the candidate is not said again."""
    measurement = mark.measurement
    accuracy = finite(measurement.get("accuracy"))
    said = [
        inert(str(mark.candidate.get("name"))),
        f"measured by you on {inert(str(measurement.get('device')))}, {measurement.get('date')}",
        f"beside {inert(str(measurement.get('target')))}",
        None if accuracy is None else f"{100 * accuracy:.2f} %",
        *(_cost(measurement, axis) for axis in COSTS),
        inert(str(measurement.get("note") or "")),
    ]
    return "<br>".join(line for line in said if line)


def _cost(measurement: Json, axis: Axis) -> str | None:
    value = finite(measurement.get(COLUMNS[axis]))
    return None if value is None else unit_for(axis, [value]).text(value)
