"""One network on several targets: what binds each layer where, and where the time goes.

Strips over the layers, one row per target, like the bit map: a cell has the colour and the letter of what binds it.
"""

from __future__ import annotations

from typing import Any

from core.figures import colours
from core.figures.cells import cells
from core.figures.figure import Cell, Figure, inert
from core.figures.layouts import axis, layer_layout
from core.figures.quantities import unit_for
from core.hardware.comparison import Comparison, LayerOnTarget, NetworkOnTarget

COLUMNS = (
    "layer", "target", "provenance", "images_per_pass", "latency_s", "share", "bound_by", "energy_j", "runs_as",
)  # fmt: skip
GAP = 0.05  # left free over and under a cell
TARGET_MARGIN = 160  # pixels for the names of the targets


def bound_strips(comparison: Comparison) -> Figure:
    """What binds each layer on each target."""
    title = f"What binds each layer at {comparison.weight_bits}/{comparison.activation_bits}"
    bounds = sorted({layer.bound_by for each in comparison.targets for layer in each.layers})
    data = [_bound_cells(comparison, bound) for bound in bounds]
    return Figure(title, data, _layout(title, comparison, showlegend=True), COLUMNS, _rows(comparison))


def share_strips(comparison: Comparison) -> Figure:
    """The share of the network's latency that each layer takes on each target."""
    title = f"Share of the latency at {comparison.weight_bits}/{comparison.activation_bits}"
    targets = comparison.targets[::-1]
    shares = [[100 * layer.share for layer in each.layers] for each in targets]
    texts = [[f"{share:.0f}" if share >= 0.5 else "" for share in row] for row in shares]
    hovers = [[_hover(each, layer) for layer in each.layers] for each in targets]
    trace = cells(shares, texts, hovers, size=10)
    return Figure(title, [trace], _layout(title, comparison, showlegend=False), COLUMNS, _rows(comparison))


def _bound_cells(comparison: Comparison, bound: str) -> dict[str, Any]:
    places = [
        (index, len(comparison.targets) - 1 - row, each, layer)
        for row, each in enumerate(comparison.targets)
        for index, layer in enumerate(each.layers)
        if layer.bound_by == bound
    ]
    return {
        "type": "bar",
        "name": f"{colours.letter_of_bound(bound)} {colours.bound_words(bound)}" if bound else "takes no time",
        "x": [index for index, *_ in places],
        "y": [1 - 2 * GAP] * len(places),
        "base": [row + GAP for _, row, *_ in places],
        "width": 0.94,
        "text": [colours.letter_of_bound(bound)] * len(places),
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "none",
        "textfont": {"size": 11, "color": colours.on_bound(bound)},
        "marker": {"color": colours.of_bound(bound)},
        "hovertext": [_hover(each, layer) for *_, each, layer in places],
        "hoverinfo": "text",
    }


def _hover(on: NetworkOnTarget, layer: LayerOnTarget) -> str:
    latency = unit_for("latency", [layer.latency_s]).text(layer.latency_s)
    runs = f"<br>{inert(layer.substituted, 120)}" if layer.substituted else ""
    return (
        f"{inert(layer.layer)}<br>{inert(on.name)}: {latency} {on.provenance}, {100 * layer.share:.1f} % of all"
        f"<br>{colours.bound_words(layer.bound_by) if layer.bound_by else 'takes no time'}{runs}"
    )


def _layout(title: str, comparison: Comparison, *, showlegend: bool) -> dict[str, Any]:
    names = [layer.layer for layer in comparison.targets[0].layers]
    count = len(comparison.targets)
    base = layer_layout(
        title,
        names,
        (74 if showlegend else 38) + 30 * count,
        barmode="overlay",
        showlegend=showlegend,
        yaxis=axis("", range=[0, count], tickmode="array", tickvals=[row + 0.5 for row in range(count)],
                   ticktext=[f"{inert(each.name, 26)}<br>{each.provenance}" for each in reversed(comparison.targets)],
                   tickfont={"size": 10}, showgrid=False, fixedrange=True),
    )  # fmt: skip
    base["hovermode"] = "closest"
    base["margin"] = {**base["margin"], "l": TARGET_MARGIN, "t": 44 if showlegend else 8}
    base["meta"] = {**base["meta"], "min_width": base["meta"]["min_width"] + TARGET_MARGIN}
    return base


def _rows(comparison: Comparison) -> list[list[Cell]]:
    return [
        [layer.layer, each.target, each.provenance, each.images_per_pass, layer.latency_s, layer.share, layer.bound_by,
         layer.energy_j, layer.substituted]
        for each in comparison.targets for layer in each.layers
    ]  # fmt: skip
