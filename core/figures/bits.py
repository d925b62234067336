"""The bit map: how many bits each layer's weights and activations got, as one strip each.

Cells are bars of height one, because plotly can hatch bars (pruned layers) and not the cells of a heat map. A layer
whose channels have widths of their own shows their mean, and along the foot of its cell the share of each width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.figures import colours
from core.figures.figure import Cell, Figure, Json, inert
from core.figures.layouts import axis, empty, layer_layout
from core.figures.reading import at, average, channel_counts, find, layer_names

SIDES = (("weights", "W"), ("activations", "A"))
CELL, GAP = 0.94, 0.04  # width of a cell, and what is left free under and over it
FOOT = 0.2  # height of the shares


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
    feet = [_shares(names, strip, len(strips) - 1 - row) for row, strip in enumerate(strips)]
    data += [foot for foot in feet if foot["x"]]
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
        "y": [None if width is None else 1 - 2 * GAP for width in widths],
        "base": base + GAP,
        "width": CELL,
        "text": [cell_text(width) for width in widths],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "none",
        "textfont": {"size": 12, "color": [colours.on_bits(width or 0) for width in widths]},
        "marker": _cells(widths, differs),
        "hovertext": [
            _hover(name, label, width, _counts(item, name, side)) for name, width in zip(names, widths, strict=True)
        ],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _shares(names: Sequence[str], strip: tuple[Json, str, str], base: int) -> dict[str, Any]:
    """The foot of the cells of layers whose channels differ: a piece per width, as wide as its share of channels."""
    item, side, label = strip
    centres, lengths, pieces, hovers = [], [], [], []
    for place, name in enumerate(names):
        counts = _counts(item, name, side)
        start = place - CELL / 2
        for width, count in counts.items():
            lengths.append(CELL * count / sum(counts.values()))
            centres.append(start + lengths[-1] / 2)
            start += lengths[-1]
            pieces.append(float(width))
            hovers.append(_hover(name, label, _width(item, name, side), counts))
    return {
        "type": "bar",
        "name": f"{item.get('name')}, {side} by channel",
        "x": centres,
        "y": [FOOT] * len(centres),
        "base": base + GAP,
        "width": lengths,
        "marker": _cells(pieces, [False] * len(pieces)),
        "hovertext": hovers,
        "hoverinfo": "text",
        "showlegend": False,
    }


def _counts(candidate: Json, name: str, side: str) -> dict[int, int]:
    return channel_counts(at(candidate, "policy", "layers", name, side))


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


def _hover(name: str, label: str, width: float | None, counts: Mapping[int, int]) -> str:
    side = {"W": "weights", "A": "activations"}[label]
    if counts:
        words = f"{_range(counts)} bits, {width:.2f} on average<br>channels: {_listed(counts)}"
    else:
        words = "float" if width == 32 else "pruned" if width == 0 else f"{cell_text(width)} bits"
    return f"{inert(name)}<br>{side}: {words}"


def _range(counts: Mapping[int, int]) -> str:
    return f"{min(counts)} to {max(counts)}"


def _listed(counts: Mapping[int, int]) -> str:
    """For people.

    >>> _listed({0: 2, 4: 6})
    '2 pruned, 6 at 4'
    """
    return ", ".join(f"{count} pruned" if width == 0 else f"{count} at {width}" for width, count in counts.items())


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
    mixed = [f"{item.get('name')} channels by weight bits" for item in _with_channels(shown)]
    return ["layer", *(f"{item.get('name')} {side} bits" for item in shown for side, _ in SIDES), *mixed]


def _rows(names: Sequence[str], shown: Sequence[Json]) -> list[list[Cell]]:
    mixed = _with_channels(shown)
    return [
        [
            name,
            *(_width(item, name, side) for item in shown for side, _ in SIDES),
            *(_listed(_counts(item, name, "weights")) for item in mixed),
        ]
        for name in names
    ]


def _with_channels(shown: Sequence[Json]) -> list[Json]:
    """Those candidates that have a layer whose channels differ."""
    return [item for item in shown if any(_counts(item, name, "weights") for name in layer_names(None, [item]))]
