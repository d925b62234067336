"""The page of measured results, whose tables the commands write between their two marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.qat_runs import RESULTS

PAGE = RESULTS / "qat.md"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows), ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def with_section(name: str, lines: Sequence[str], page: Path = PAGE) -> str:
    """The page's text with these lines between the marks of that name."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    body = "\n".join(lines).strip("\n") or "Not yet run."
    text = page.read_text(encoding="utf-8")
    return re.sub(
        f"{re.escape(start)}.*?{re.escape(end)}", lambda _: f"{start}\n\n{body}\n\n{end}", text, flags=re.DOTALL
    )


def write_section(name: str, lines: Sequence[str]) -> None:
    """Replace what stands between the marks."""
    PAGE.write_text(with_section(name, lines), encoding="utf-8")
