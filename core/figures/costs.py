"""What a network costs on a target: latency layer by layer, and latency or energy at every pair of widths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from core.errors import NotFound
from core.figures import colours
from core.figures.cells import cells
from core.figures.figure import Cell, Figure, inert
from core.figures.layer_costs import COLUMNS, LayerCost, bounds_in, layer_costs, widths_words
from core.figures.layouts import axis, empty, layer_layout, layout
from core.figures.quantities import Unit, unit_for
from core.hardware.cost_table import CostTable
from core.hardware.kind import FloatArray

Quantity = Literal["latency", "energy"]
TITLES: Final = {"latency": "Latency", "energy": "Energy"}
UNSUPPORTED = "* not supported as written: costed as the next wider pair, or as it is where there is none"


def layer_latency(table: CostTable, weight_bits: int, activation_bits: int) -> Figure:
    """Latency per layer in execution order, one series for each thing that binds."""
    costs = layer_costs(table, weight_bits, activation_bits)
    target = table.target
    title = f"Latency per layer on {target.name} at {weight_bits}/{activation_bits}"
    unit = unit_for("latency", [cost.latency_s for cost in costs])
    total = unit_for("latency", [sum(cost.latency_s for cost in costs)])
    heading = axis(f"{unit.name} per pass of {target.batch}, {target.provenance}", fixedrange=True, nticks=5)
    base = layer_layout(inert(title, 200), [cost.name for cost in costs], 220, barmode="stack", yaxis=heading)
    whole = f"all layers together: {total.text(sum(cost.latency_s for cost in costs))}"
    base["meta"] = {
        **base["meta"],
        "note": f"at {widths_words(table, weight_bits, activation_bits)}; {whole}",
        "provenance": target.provenance,
    }
    return Figure(
        title, [_bars(costs, bound, unit) for bound in bounds_in(costs)], base, COLUMNS, [cost.row() for cost in costs]
    )


def _bars(costs: Sequence[LayerCost], bound: str, unit: Unit) -> dict[str, Any]:
    chosen = [(index, cost) for index, cost in enumerate(costs) if cost.bound_by == bound]
    return {
        "type": "bar",
        "name": colours.bound_words(bound),
        "x": [index for index, _ in chosen],
        "y": [unit.of(cost.latency_s) for _, cost in chosen],
        "customdata": [cost.index for _, cost in chosen],
        "marker": {"color": colours.of_bound(bound)},
        "hovertext": [cost.hover(unit) for _, cost in chosen],
        "hoverinfo": "text",
        "textposition": "none",
    }


def heat_map(table: CostTable, quantity: Quantity = "latency", layer: str | None = None) -> Figure:
    """Latency or energy of the network, or of one of its layers, over weight and activation widths."""
    values = _values(table, quantity, layer)
    what = layer if layer is not None else f"all {len(table.layers)} layers"
    title = f"{TITLES[quantity]} of {what} on {table.target.name} by widths"
    rows = _rows(table, values)
    columns = ("weight_bits", "activation_bits", {"latency": "latency_s", "energy": "energy_j"}[quantity],
               "supported", "provenance")  # fmt: skip
    if np.isnan(values).any():
        reason = f"Nobody modelled or measured {quantity} here"
        return Figure(title, [], {**empty(reason), "height": 140}, columns, rows)
    unit = unit_for(quantity, [float(values.max())])
    return Figure(title, [_cells(table, values, unit)], _heat_layout(title, table, quantity, unit), columns, rows)


def _values(table: CostTable, quantity: Quantity, layer: str | None) -> FloatArray:
    """[W, A] in seconds or joules."""
    array = table.latency_s if quantity == "latency" else table.energy_j
    if layer is None:
        return np.asarray(array.sum(axis=0))
    names = [one.name for one in table.layers]
    if layer not in names:
        raise NotFound(f"the network has no layer {layer[:80]!r}", hint="leave it out for the whole network")
    return np.asarray(array[names.index(layer)])


def _rows(table: CostTable, values: FloatArray) -> list[list[Cell]]:
    return [
        [w, a, None if np.isnan(values[i, j]) else float(values[i, j]), bool(table.supported[i, j]),
         table.target.provenance]
        for i, w in enumerate(table.weight_bits) for j, a in enumerate(table.activation_bits)
    ]  # fmt: skip


def _cells(table: CostTable, values: FloatArray, unit: Unit) -> dict[str, Any]:
    marks = np.where(table.supported, "", "*")
    texts = [
        [f"{value:.3g}{mark}" for value, mark in zip(*row, strict=True)]
        for row in zip(values / unit.size, marks, strict=True)
    ]
    return cells(values.tolist(), texts, _cell_hovers(table, values, unit))


def _cell_hovers(table: CostTable, values: FloatArray, unit: Unit) -> list[list[str]]:
    return [
        [
            f"{unit.text(float(values[i, j]))} {table.target.provenance}<br>weights {w} and activations {a} bits"
            + ("" if table.supported[i, j] else f"<br>{inert(widths_words(table, w, a), 160)}")
            for j, a in enumerate(table.activation_bits)
        ]
        for i, w in enumerate(table.weight_bits)
    ]


def _heat_layout(title: str, table: CostTable, quantity: Quantity, unit: Unit) -> dict[str, Any]:
    target = table.target
    base = layout(
        inert(title, 200),
        height=130 + 30 * len(table.weight_bits),
        showlegend=False,
        xaxis=_bits_axis("Activation bits", table.activation_bits, 0.0),
        yaxis=_bits_axis("Weight bits", table.weight_bits, 0.5),
    )
    words = f"{TITLES[quantity]} in {unit.name} per pass of {target.batch}, {target.provenance}"
    base["meta"] = {
        **base["meta"],
        "note": words if table.supported.all() else f"{words}. {UNSUPPORTED}",
        "provenance": target.provenance,
    }
    base["margin"] = {**base["margin"], "t": 16, "l": 56}
    return base


def _bits_axis(title: str, widths: Sequence[int], middle: float) -> dict[str, Any]:
    """One step for each width; a cell's middle lies `middle` behind its number."""
    places = [place + middle for place in range(len(widths))]
    return axis(title, range=[middle - 0.5, middle - 0.5 + len(widths)], tickmode="array", tickvals=places,
                ticktext=list(map(str, widths)), showgrid=False, fixedrange=True)  # fmt: skip
