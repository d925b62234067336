"""Layouts that all figures share. Surfaces, text and grid lines get their colours from the page's theme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures.figure import inert

FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12}
CLEAR = "rgba(0,0,0,0)"
LAYER_WIDTH = 19  # pixels: a digit and a little air
LEFT, RIGHT = 72, 16


def layout(title: str, **parts: Any) -> dict[str, Any]:
    """A quiet layout with `parts` on top."""
    return {
        "meta": {"title": title},
        "font": dict(FONT),
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "margin": {"l": LEFT, "r": RIGHT, "t": 36, "b": 56},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "showlegend": True,
        **parts,
    }


def axis(title: str, **parts: Any) -> dict[str, Any]:
    """An axis that names its quantity and unit."""
    title_text = {"text": title, "standoff": 6, "font": {"size": 12}}
    return {"title": title_text, "zeroline": False, "exponentformat": "e", **parts}


def layer_axis(names: Sequence[str]) -> dict[str, Any]:
    """The axis that bit map, sensitivity and latency share: one step per layer, in execution order."""
    return axis(
        "",
        range=[-0.5, len(names) - 0.5],
        tickmode="array",
        tickvals=list(range(len(names))),
        ticktext=[inert(name, 22) for name in names],
        tickangle=-90,
        tickfont={"size": 10},
        showgrid=False,
        fixedrange=True,
    )


def layer_layout(title: str, names: Sequence[str], height: int, **parts: Any) -> dict[str, Any]:
    """Layout of a figure over layers. `meta.min_width` (pixels) keeps the digits readable."""
    longest = max((min(len(name), 22) for name in names), default=4)
    base = layout(title, xaxis=layer_axis(names), bargap=0.1, hovermode="x", height=height + 6 * longest, **parts)
    base["meta"] = {**base["meta"], "min_width": LEFT + RIGHT + LAYER_WIDTH * len(names), "layers": len(names)}
    base["margin"] = {"l": LEFT, "r": RIGHT, "t": 30, "b": 12 + 6 * longest}
    return base


def empty(reason: str) -> dict[str, Any]:
    """A layout that says why there is nothing to see yet."""
    note = {"text": reason, "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
    return layout(reason, annotations=[note], xaxis={"visible": False}, yaxis={"visible": False}, showlegend=False)
