"""The bit map: how many bits each layer's weights and activations got, as one strip each.

Cells are bars of height one, because plotly can hatch bars (pruned layers) and not the cells of a heat map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures import colours
from core.figures.figure import Cell, Figure, Json, inert
from core.figures.layouts import axis, empty, layer_layout
from core.figures.reading import at, average, find, layer_names

SIDES = (("weights", "W"), ("activations", "A"))


def bits(
    candidates: Sequence[Json], report: Json | None, candidate: str | None = None, compare: str | None = None
) -> Figure:
    """Bit map of one candidate; with `compare`, of two, and the layers in which they differ are outlined."""
    chosen = [find(candidates, candidate), find(candidates, compare) if compare else None]
    shown = [item for item in chosen if item is not None and at(item, "policy", "layers")]
    names = layer_names(report, shown)
    if not shown:
        return Figure("Bits per layer", [], empty("No point has been found yet"), _columns(shown))
    strips = [(item, side, label) for item in shown for side, label in SIDES]
    data = [_strip(names, shown, strip, len(strips) - 1 - row) for row, strip in enumerate(strips)]
    named = [str(item.get("name")) for item in shown]
    title = f"Bits per layer: {named[0] if len(named) == 1 else f'A = {named[0]}, B = {named[1]}'}"
    return Figure(title, data, _layout(title, names, strips), _columns(shown), _rows(names, shown))


def _width(candidate: Json, name: str, side: str) -> float | None:
    return average(at(candidate, "policy", "layers", name, side))


def _strip(names: Sequence[str], shown: Sequence[Json], strip: tuple[Json, str, str], base: int) -> dict[str, Any]:
    item, side, label = strip
    widths = [_width(item, name, side) for name in names]
    differs = [len({_width(other, name, side) for other in shown}) > 1 for name in names]
    return {
        "type": "bar",
        "name": f"{item.get('name')}, {side}",
        "x": list(range(len(names))),
        "y": [None if width is None else 0.92 for width in widths],
        "base": base + 0.04,
        "width": 0.94,
        "text": [cell_text(width) for width in widths],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "none",
        "textfont": {"size": 12, "color": [colours.on_bits(width or 0) for width in widths]},
        "marker": _cells(widths, differs),
        "hovertext": [_hover(name, label, width) for name, width in zip(names, widths, strict=True)],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _cells(widths: Sequence[float | None], differs: Sequence[bool]) -> dict[str, Any]:
    return {
        "color": [colours.of_bits(width or 0) for width in widths],
        "line": {"width": [2 if one else 0 for one in differs], "color": colours.UNIFORM},
        "pattern": {"shape": ["/" if width == 0 else "" for width in widths], "fgcolor": "#6b7280", "size": 5},
    }


def cell_text(width: float | None) -> str:
    """The digit in a cell; `f` for float; one decimal for a mean over channels.

    >>> cell_text(4.0), cell_text(32), cell_text(3.25)
    ('4', 'f', '3.2')
    """
    if width is None:
        return ""
    return "f" if width == 32 else f"{width:.0f}" if float(width).is_integer() else f"{width:.1f}"


def _hover(name: str, label: str, width: float | None) -> str:
    side = {"W": "weights", "A": "activations"}[label]
    words = "float" if width == 32 else "pruned" if width == 0 else f"{cell_text(width)} bits"
    return f"{inert(name)}<br>{side}: {words}"


def _layout(title: str, names: Sequence[str], strips: Sequence[tuple[Json, str, str]]) -> dict[str, Any]:
    pair = len(strips) > len(SIDES)
    labels = (
        [f"{mark} {words}" for mark in "AB" for words in ("weights", "activ.")]
        if pair
        else [label for _, _, label in strips]
    )
    rows = list(range(len(strips)))
    return layer_layout(
        title,
        names,
        52 + 30 * len(strips),
        barmode="overlay",
        showlegend=False,
        yaxis=axis("" if pair else "Bits", range=[0, len(strips)], tickmode="array", ticktext=labels,
                   tickvals=[row + 0.5 for row in reversed(rows)], showgrid=False, fixedrange=True),
    )  # fmt: skip


def _columns(shown: Sequence[Json]) -> list[str]:
    return ["layer", *(f"{item.get('name')} {side} bits" for item in shown for side, _ in SIDES)]


def _rows(names: Sequence[str], shown: Sequence[Json]) -> list[list[Cell]]:
    return [[name, *(_width(item, name, side) for item in shown for side, _ in SIDES)] for name in names]
