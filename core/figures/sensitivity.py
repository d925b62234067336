"""What fewer bits cost each layer: predicted loss increase at given widths, or the Hessian's mean trace."""

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
    """Loss increase per layer at the widths of a candidate, or of `at_bits` everywhere; `at_bits` 0 is the trace."""
    layers = at(report, "sensitivity", "layers")
    title = "Sensitivity per layer"
    if not layers:
        return Figure(title, [], empty("Sensitivity has not been measured yet"), _columns())
    names = layer_names(report, candidates)
    by_name = {layer["name"]: layer for layer in layers}
    chosen = None if at_bits is not None else find(candidates, candidate)
    rows = [_row(name, by_name.get(name, {}), chosen, at_bits or 4) for name in names]
    data = [_traces_of_hessian(names, rows)] if at_bits == 0 else _losses(names, rows)
    return Figure(title, data, _layout(title, names, report, at_bits, chosen), _columns(), rows)


def _width(candidate: Json | None, name: str, side: str, otherwise: int) -> int | None:
    if candidate is None:
        return otherwise
    width = average(at(candidate, "policy", "layers", name, side))
    return None if width is None else round(width)


def _row(name: str, layer: Json, chosen: Json | None, otherwise: int) -> list[Cell]:
    widths = [_width(chosen, name, side, otherwise) for side, _ in SIDES]
    losses = [_loss(layer, side, width) for (side, _), width in zip(SIDES, widths, strict=True)]
    return [name, *widths, *losses, finite(layer.get("trace")), finite(layer.get("standard_error"))]


def _loss(layer: Json, side: str, width: int | None) -> float | None:
    """Loss increase of one side at a width. JSON keys are text. Float costs nothing."""
    return 0.0 if width == 32 else finite(at(layer, side, str(width)))


def _losses(names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[dict[str, Any]]:
    return [
        {
            "type": "bar",
            "name": side,
            "x": list(range(len(names))),
            "y": [row[3 + index] for row in rows],
            "marker": {"color": colour, "pattern": {"shape": "" if side == "weights" else "x", "size": 4}},
            "hovertext": [_hover(row, side, row[1 + index], row[3 + index]) for row in rows],
            "hoverinfo": "text",
            "textposition": "none",
        }
        for index, (side, colour) in enumerate(SIDES)
    ]


def _hover(row: Sequence[Cell], side: str, width: Cell, loss: Cell) -> str:
    known = f"{loss:+.3g} nats" if isinstance(loss, float) else "not measured"
    widths = "float" if width == 32 else f"{width} bits"
    return f"{inert(str(row[0]))}<br>{side} at {widths}: {known}{_trace_words(row)}"


def _trace_words(row: Sequence[Cell]) -> str:
    if row[5] is None:
        return ""
    return f"<br>mean Hessian trace {row[5]:.3g}" + (f" ± {row[6]:.2g}" if row[6] is not None else "")


def _traces_of_hessian(names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": "mean Hessian trace",
        "x": list(range(len(names))),
        "y": [row[5] for row in rows],
        "error_y": {"type": "data", "array": [row[6] for row in rows], "thickness": 1, "width": 2},
        "marker": {"color": colours.SEARCH},
        "hovertext": [f"{inert(str(row[0]))}{_trace_words(row)}" for row in rows],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _layout(title: str, names: Sequence[str], report: Json | None, at_bits: int | None, chosen: Json | None) -> Any:
    heading = "Mean trace ± s.e." if at_bits == 0 else "Loss added (nats)"
    base = layer_layout(title, names, 190, barmode="stack", yaxis=axis(heading, fixedrange=True, nticks=5))
    widths = f"{at_bits} bits" if chosen is None else f"the bits of {chosen.get('name')}"
    metric = str(at(report, "sensitivity", "metric") or "")
    base["meta"] = {**base["meta"], "note": metric if at_bits == 0 else f"{metric}, at {widths}"}
    return base


def _columns() -> list[str]:
    return ["layer", "weights_bits", "activations_bits", "weights_loss_increase", "activations_loss_increase",
            "mean_hessian_trace", "standard_error"]  # fmt: skip
