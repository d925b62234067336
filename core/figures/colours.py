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
BINDING: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8a919c")


def of_bits(bits: float) -> str:
    """Colour of a cell; widths in between (an average over channels) take the nearest one's."""
    return BITS[min(BITS, key=lambda known: abs(known - bits))]


def on_bits(bits: float) -> str:
    """Colour of the digit in that cell."""
    return "#ffffff" if min(BITS, key=lambda known: abs(known - bits)) in DARK_CELLS else "#14181f"
