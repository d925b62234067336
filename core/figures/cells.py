"""A grid of cells whose colour says how large a value is, with the number in each.

The cells are bars of height one: plotly's own heat map writes styles into the page, which its security policy forbids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures import colours

GAP = 0.03  # left free on each side of a cell


def cells(
    values: Sequence[Sequence[float]], texts: Sequence[Sequence[str]], hovers: Sequence[Sequence[str]], size: int = 12
) -> dict[str, Any]:
    """One trace; the first row lies at the bottom, from 0 to 1, the first column around 0. `size` of the text."""
    largest = max((value for row in values for value in row), default=0.0)
    shares = [value / largest if largest > 0 else 0.0 for row in values for value in row]
    return {
        "type": "bar",
        "x": [column for row in values for column in range(len(row))],
        "y": [1 - 2 * GAP] * len(shares),
        "base": [number + GAP for number, row in enumerate(values) for _ in row],
        "width": 1 - 2 * GAP,
        "marker": {"color": [colours.of_cost(share) for share in shares]},
        "text": [text for row in texts for text in row],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "none",
        "textfont": {"size": size, "color": [colours.on_cost(share) for share in shares]},
        "hovertext": [hover for row in hovers for hover in row],
        "hoverinfo": "text",
        "showlegend": False,
    }
