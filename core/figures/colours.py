"""Colours that read on light and on dark surfaces; the page sets surface, text and grid.

Bits: ColorBrewer's YlGnBu (colour-blind safe, sequential): few bits light, 8 bits dark. What binds: Okabe and Ito's
palette. Series on a front differ by shape as well.
"""

from __future__ import annotations

from typing import Final

SEARCH: Final = "#3b7dd8"
UNIFORM: Final = "#d9780f"
OWN: Final = "#0f9d8a"
MEASURED: Final = "#a347ba"
NEUTRAL: Final = "#8a919c"
ORIGINS: Final = {"search": SEARCH, "uniform": UNIFORM, "own": OWN, "float": NEUTRAL}
SYMBOLS: Final = {"search": "circle", "uniform": "diamond", "own": "square", "float": "x"}

BITS: Final = {
    0: "#f3f4f6",
    1: "#ffffd9",
    2: "#edf8b1",
    3: "#c7e9b4",
    4: "#7fcdbb",
    5: "#41b6c4",
    6: "#1d91c0",
    7: "#225ea8",
    8: "#0c2c84",
    16: "#061643",
    32: "#9aa1ab",
}
DARK_CELLS: Final = frozenset({6, 7, 8, 16})
BOUNDS: Final = {  # colour, symbol of a point and letter in a cell, one for each thing that binds a layer
    "compute": ("#0072b2", "circle", "C"),
    "activations": ("#e69f00", "triangle-up", "A"),
    "weights": ("#009e73", "square", "W"),
    "write-back": ("#cc79a7", "diamond", "B"),
    "fixed": ("#8a919c", "x", "F"),
}
_UNKNOWN_BOUND: Final = ("#56b4e9", "cross", "?")
# ColorBrewer's YlOrBr: what costs little is light
COST_SCALE: Final = ("#ffffe5", "#fff7bc", "#fee391", "#fec44f", "#fe9929", "#ec7014", "#cc4c02", "#993404", "#662506")
_DARK_COST: Final = 0.7


def of_bits(bits: float) -> str:
    """Colour of a cell; widths in between (an average over channels) take the nearest one's."""
    return BITS[min(BITS, key=lambda known: abs(known - bits))]


def on_bits(bits: float) -> str:
    """Colour of the digit in that cell."""
    return "#ffffff" if min(BITS, key=lambda known: abs(known - bits)) in DARK_CELLS else "#14181f"


def bound_words(bound: str) -> str:
    """For legends and hovers.

    >>> bound_words("weights"), bound_words("unknown")
    ('bound by weights', 'what binds it is not known')
    """
    return f"bound by {bound}" if bound in BOUNDS else "what binds it is not known"


def of_bound(bound: str) -> str:
    """Colour of what binds a layer, the same in every figure."""
    return BOUNDS.get(bound, _UNKNOWN_BOUND)[0]


def symbol_of_bound(bound: str) -> str:
    """Symbol of a point that it binds."""
    return BOUNDS.get(bound, _UNKNOWN_BOUND)[1]


def letter_of_bound(bound: str) -> str:
    """Letter in a cell that it colours."""
    return BOUNDS.get(bound, _UNKNOWN_BOUND)[2]


def on_bound(bound: str) -> str:
    """Colour of that letter."""
    return "#ffffff" if bound in ("compute", "weights") else "#14181f"


def of_cost(share: float) -> str:
    """Colour of a cost that is that share of the largest, 0 to 1.

    >>> of_cost(0.0), of_cost(1.0)
    ('#ffffe5', '#662506')
    """
    place = min(max(share, 0.0), 1.0) * (len(COST_SCALE) - 1)
    low = min(int(place), len(COST_SCALE) - 2)
    ends = [[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in COST_SCALE[low : low + 2]]
    mixed = [round(a + (place - low) * (b - a)) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def on_cost(share: float) -> str:
    """Colour of the number in that cell."""
    return "#ffffff" if share > _DARK_COST else "#14181f"
