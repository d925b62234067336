"""What a figure is: a plotly figure as plain JSON, and the same data as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]
Cell = str | int | float | bool | None

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Figure:
    """`data` and `layout` as plotly.js takes them; `columns` and `rows` hold the same data with units in the names."""

    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]] = field(default_factory=list)

    def plot(self) -> dict[str, Any]:
        """The body of `figures/<name>.json`: what `Plotly.newPlot` takes, and the table under `table`."""
        return {
            "data": self.data,
            "layout": self.layout,
            "table": {"title": self.title, "columns": list(self.columns), "rows": [list(row) for row in self.rows]},
        }

    def to_json(self) -> str:
        """`plot` as text; never NaN or infinity, which JSON does not have."""
        return json.dumps(self.plot(), allow_nan=False, ensure_ascii=False)

    def to_csv(self) -> str:
        """The table as RFC 4180 text. Cells that a spreadsheet would run as a formula are disarmed."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow([disarm(column) for column in self.columns])
        writer.writerows([disarm(cell) for cell in row] for row in self.rows)
        return text.getvalue()


def disarm(cell: Cell) -> Cell:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV injection).

    >>> disarm("=HYPERLINK(1)"), disarm(-3), disarm("conv1")
    ("'=HYPERLINK(1)", -3, 'conv1')
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def inert(text: str, longest: int = 60) -> str:
    """A name as plotly shall show it: plotly reads labels as a small HTML, so its signs are escaped.

    >>> inert("<b>conv&1</b>")
    '&lt;b&gt;conv&amp;1&lt;/b&gt;'
    """
    short = text if len(text) <= longest else f"{text[: longest // 2 - 1]}…{text[-(longest // 2) :]}"
    printable = "".join(letter if letter.isprintable() else "·" for letter in short)
    return printable.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
