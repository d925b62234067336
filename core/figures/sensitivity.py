"""What fewer bits cost each layer: predicted loss increase at given widths, or the metric's own score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures import colours
from core.figures.figure import Cell, Figure, Json, inert
from core.figures.layouts import axis, empty, layer_layout
from core.figures.reading import at, average, find, finite, layer_names

SIDES = (("weights", colours.SEARCH), ("activations", colours.UNIFORM))


def sensitivity(
    candidates: Sequence[Json], report: Json | None, candidate: str | None = None, at_bits: int | None = None
) -> Figure:
    """Loss increase per layer at the widths of a candidate, or of `at_bits` everywhere; `at_bits` 0 is the score."""
    layers = at(report, "sensitivity", "layers")
    title = "Sensitivity per layer"
    if not layers:
        return Figure(title, [], empty("Sensitivity has not been measured yet"), _columns())
    names = layer_names(report, candidates)
    by_name = {layer["name"]: layer for layer in layers}
    chosen = None if at_bits is not None else find(candidates, candidate)
    rows = [_row(name, by_name.get(name, {}), chosen, at_bits or 4) for name in names]
    score = str(at(report, "sensitivity", "score") or "score")
    data = [_scores(names, rows, score)] if at_bits == 0 else _losses(names, rows, score)
    return Figure(title, data, _layout(title, names, report, at_bits, chosen), _columns(), rows)


def _width(candidate: Json | None, name: str, side: str, otherwise: int) -> int | None:
    if candidate is None:
        return otherwise
    width = average(at(candidate, "policy", "layers", name, side))
    return None if width is None else round(width)


def _row(name: str, layer: Json, chosen: Json | None, otherwise: int) -> list[Cell]:
    widths = [_width(chosen, name, side, otherwise) for side, _ in SIDES]
    losses = [_loss(layer, side, width) for (side, _), width in zip(SIDES, widths, strict=True)]
    return [name, *widths, *losses, finite(layer.get("score")), finite(layer.get("standard_error"))]


def _loss(layer: Json, side: str, width: int | None) -> float | None:
    """Loss increase of one side at a width. JSON keys are text. Float costs nothing."""
    return 0.0 if width == 32 else finite(at(layer, side, str(width)))


def _losses(names: Sequence[str], rows: Sequence[Sequence[Cell]], score: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "bar",
            "name": side,
            "x": list(range(len(names))),
            "y": [row[3 + index] for row in rows],
            "marker": {"color": colour, "pattern": {"shape": "" if side == "weights" else "x", "size": 4}},
            "hovertext": [_hover(row, side, row[1 + index], row[3 + index], score) for row in rows],
            "hoverinfo": "text",
            "textposition": "none",
        }
        for index, (side, colour) in enumerate(SIDES)
    ]


def _hover(row: Sequence[Cell], side: str, width: Cell, loss: Cell, score: str) -> str:
    known = f"{loss:+.3g} nats" if isinstance(loss, float) else "not measured"
    widths = "float" if width == 32 else f"{width} bits"
    return f"{inert(str(row[0]))}<br>{side} at {widths}: {known}{_score_words(row, score)}"


def _score_words(row: Sequence[Cell], score: str) -> str:
    if row[5] is None:
        return ""
    return f"<br>{inert(score)} {row[5]:.3g}" + (f" ± {row[6]:.2g}" if row[6] is not None else "")


def _scores(names: Sequence[str], rows: Sequence[Sequence[Cell]], score: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": inert(score),
        "x": list(range(len(names))),
        "y": [row[5] for row in rows],
        "error_y": {"type": "data", "array": [row[6] for row in rows], "thickness": 1, "width": 2},
        "marker": {"color": colours.SEARCH},
        "hovertext": [f"{inert(str(row[0]))}{_score_words(row, score)}" for row in rows],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _layout(title: str, names: Sequence[str], report: Json | None, at_bits: int | None, chosen: Json | None) -> Any:
    heading = "Score ± s.e." if at_bits == 0 else "Loss added (nats)"
    base = layer_layout(title, names, 190, barmode="stack", yaxis=axis(heading, fixedrange=True, nticks=5))
    widths = f"{at_bits} bits" if chosen is None else f"the bits of {chosen.get('name')}"
    metric = str(at(report, "sensitivity", "metric") or "")
    score = at(report, "sensitivity", "score")
    about = f"{metric}: {score or 'it has no score'}" if at_bits == 0 else f"{metric}, at {widths}"
    base["meta"] = {**base["meta"], "note": about}
    return base


def _columns() -> list[str]:
    return ["layer", "weights_bits", "activations_bits", "weights_loss_increase", "activations_loss_increase",
            "score", "standard_error"]  # fmt: skip
