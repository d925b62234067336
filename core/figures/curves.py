"""Training curves: loss and accuracy on the select split by epoch, of every candidate that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures import colours
from core.figures.figure import Cell, Figure, Json, inert
from core.figures.layouts import axis, empty, layout
from core.figures.reading import finite, quality

COLUMNS = ("candidate", "epoch", "training_loss", "select_accuracy", "seconds")
NAMES = {"search": "found by search", "uniform": "uniform", "own": "own policy"}
DASHES = {"search": "solid", "uniform": "dash", "own": "dot"}


def curves(candidates: Sequence[Json], candidate: str | None = None, report: Json | None = None) -> Figure:
    """Two panels over the same epochs. With a candidate, the others are faint. Without labels, accuracy is agreement
    with the float network.
    """
    metric = quality(report)
    columns = tuple(name.replace("accuracy", metric) for name in COLUMNS)
    trained = [item for item in candidates if item.get("history")]
    if not trained:
        return Figure("Training curves", [], empty("Nothing has been trained yet"), columns)
    firsts = {item.get("origin"): item for item in reversed(trained)}
    data = [trace for item in trained for trace in _traces(item, candidate, firsts[item.get("origin")] is item)]
    rows = [_row(item, epoch) for item in trained for epoch in item["history"]]
    return Figure(
        "Training curves", data, _layout(max(len(item["history"]) for item in trained), metric), columns, rows
    )


def _traces(item: Json, candidate: str | None, first: bool) -> list[dict[str, Any]]:
    chosen = candidate in (None, item.get("id"), item.get("name"))
    lines = [_line(item, chosen, "loss", "y2"), _line(item, chosen, "select_accuracy", "y")]
    return [{**lines[0], "showlegend": first}, lines[1]]


def _line(item: Json, chosen: bool, quantity: str, yaxis: str) -> dict[str, Any]:
    origin, history = str(item.get("origin")), item["history"]
    values = [finite(epoch.get(quantity)) for epoch in history]
    shown = [None if value is None else 100 * value for value in values] if quantity == "select_accuracy" else values
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": NAMES.get(origin, "other"),
        "legendgroup": origin,
        "showlegend": False,
        "hovertext": [_hover(item, epoch) for epoch in history],
        "hoverinfo": "text",
        "x": [epoch.get("epoch") for epoch in history],
        "y": shown,
        "yaxis": yaxis,
        "opacity": 1.0 if chosen else 0.2,
        "line": {"width": 1.5, "dash": DASHES.get(origin, "dot"), "color": colours.ORIGINS.get(origin, colours.OWN)},
        "marker": {"size": 4},
        "customdata": [str(item.get("id"))] * len(history),
    }


def _hover(item: Json, epoch: Json) -> str:
    loss, accuracy = finite(epoch.get("loss")), finite(epoch.get("select_accuracy"))
    parts = [
        f"training loss {loss:.4g}" if loss is not None else "",
        f"select {100 * accuracy:.2f} %" if accuracy is not None else "",
    ]
    return "<br>".join([f"{inert(str(item.get('name')))}, epoch {epoch.get('epoch')}", *filter(None, parts)])


def _layout(epochs: int, metric: str) -> dict[str, Any]:
    return layout(
        "Training curves",
        height=400,
        xaxis=axis("Epoch", anchor="y", dtick=max(1, epochs // 8)),
        yaxis=axis("Select acc. (%)" if metric == "accuracy" else "Agreement (%)", domain=[0, 0.46]),
        yaxis2=axis("Loss (nats)", domain=[0.54, 1]),
    )


def _row(item: Json, epoch: Json) -> list[Cell]:
    numbers = [finite(epoch.get(key)) for key in ("loss", "select_accuracy", "seconds")]
    return [str(item.get("name")), epoch.get("epoch"), *numbers]
