"""How a benchmark prints what it measured beside what is asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, the goal in words, and whether it is met."""

    name: str
    measured: str
    goal: str
    met: bool


def show(title: str, figures: list[Figure]) -> int:
    """Print a table; the exit status is 1 where a goal is missed."""
    print(title)
    widths = [max(len(getattr(figure, column)) for figure in figures) for column in ("name", "measured", "goal")]
    for figure in figures:
        cells = zip((figure.name, figure.measured, figure.goal), widths, strict=True)
        print("  " + "  ".join(cell.ljust(width) for cell, width in cells), "pass" if figure.met else "FAIL", sep="  ")
    return 0 if all(figure.met for figure in figures) else 1


def best_seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """The least of several times, in seconds of processor time: whatever else the machine does is not counted."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return min(seconds)
