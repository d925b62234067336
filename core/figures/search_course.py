"""The course of a search that asks about policies one by one: the best loss yet, and an agent's reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures import colours
from core.figures.figure import Cell, Figure, Json
from core.figures.layouts import axis, empty, layout
from core.figures.reading import at, finite

COLUMNS = ("evaluations", "best_loss_within_the_budget", "reward", "budget")
MOST_POINTS = 2000  # drawn; the table has them all


def search_course(report: Json | None) -> Figure:
    """Best loss within the budget that was searched for, over evaluations; rewards on an axis of their own."""
    title = "Course of the search"
    steps: Sequence[Json] = at(report, "search", "steps") or ()
    rows: list[list[Cell]] = [
        [step["evaluations"], finite(step.get("best_loss")), finite(step.get("reward")), step.get("budget")]
        for step in steps
    ]
    if not steps:
        return Figure(title, [], empty("This search did not ask about policies one by one"), COLUMNS)
    shown = rows[:: max(1, -(-len(rows) // MOST_POINTS))]
    data = [_best(shown)]
    has_reward = any(row[2] is not None for row in rows)
    if has_reward:
        data.append(_rewards(shown))
    return Figure(title, data, _layout(title, has_reward), COLUMNS, rows)


def _best(rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    """A gap where the next budget begins: another budget's best is another line."""
    x: list[Cell] = []
    y: list[Cell] = []
    for position, (used, best, _, budget) in enumerate(rows):
        if position and rows[position - 1][3] != budget:
            x.append(used)
            y.append(None)
        x.append(used)
        y.append(best)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "best loss within the budget",
        "x": x,
        "y": y,
        "line": {"color": colours.SEARCH, "width": 1.5, "shape": "hv"},
        "marker": {"size": 4},
        "hovertemplate": "%{x} evaluations<br>best loss %{y:.4g}<extra></extra>",
    }


def _rewards(rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "reward of the episode",
        "x": [row[0] for row in rows],
        "y": [row[2] for row in rows],
        "yaxis": "y2",
        "marker": {"color": colours.UNIFORM, "symbol": "diamond-open", "size": 5, "opacity": 0.6},
        "hovertemplate": "%{x} evaluations<br>reward %{y:.4g}<extra></extra>",
    }


def _layout(title: str, has_reward: bool) -> dict[str, Any]:
    base = layout(title, height=280, xaxis=axis("Evaluations", rangemode="tozero"), yaxis=axis("Best loss (nats)"))
    if has_reward:
        base["yaxis2"] = axis("Reward", overlaying="y", side="right", showgrid=False)
        base["margin"] = {**base["margin"], "r": 64}
    return base
