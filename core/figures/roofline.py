"""Roofline of a network on a target (Williams, Waterman and Patterson, CACM 2009): what each layer achieves.

Multiply-accumulates per second over multiply-accumulates per byte of weights and activations, at one pair of widths.
The roof is the kind's own peak and bandwidth where it gives them, else the upper envelope of what these layers achieve,
and the legend says which. Points differ by colour and by shape after what binds the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.figures import colours
from core.figures.figure import Figure, inert
from core.figures.layer_costs import COLUMNS, LayerCost, bounds_in, layer_costs, widths_words
from core.figures.layouts import axis, empty, layout
from core.figures.quantities import unit_for
from core.hardware.cost_table import CostTable
from core.hardware.envelope import envelope_of
from core.hardware.kind import Envelope

RATES = ((1e12, "TMAC/s"), (1e9, "GMAC/s"), (1e6, "MMAC/s"), (1e3, "kMAC/s"))
MARGIN = 2.0  # how far the axes reach beyond the outermost points, as a factor
ACHIEVED = "upper envelope of these layers: this kind gives no peak"


def roofline(table: CostTable, weight_bits: int, activation_bits: int) -> Figure:
    """Every layer that takes time, and the roof over them."""
    costs = layer_costs(table, weight_bits, activation_bits)
    title = f"Roofline of {len(costs)} layers on {table.target.name} at {weight_bits}/{activation_bits}"
    points = [cost for cost in costs if cost.macs_per_s is not None and cost.macs > 0]
    rows = [cost.row() for cost in costs]
    if not points:
        return Figure(title, [], empty("No layer takes any time here"), COLUMNS, rows)
    roof = envelope_of(table.target, weight_bits, activation_bits) or achieved_envelope(points)
    size, rate = _rate_unit([*_rates(points), roof.macs_per_s])
    traces = [_roof(points, roof, size), *(_marks(points, bound, size) for bound in bounds_in(points))]
    spans = [[value for trace in traces for value in trace[side]] for side in ("x", "y")]
    base = _layout(title, table, (weight_bits, activation_bits), rate, spans)
    if _above_slope(points, roof):
        base["meta"]["note"] += "; layers above the slope keep values on chip from one layer to the next"
    return Figure(title, traces, base, COLUMNS, rows)


def achieved_envelope(points: Sequence[LayerCost]) -> Envelope:
    """The best rate, and the most bytes per second, of any layer."""
    rates = _rates(points)
    moved = [rate / point.intensity for rate, point in zip(rates, points, strict=True)]
    return Envelope(max(rates), max(moved), ACHIEVED)


def _above_slope(points: Sequence[LayerCost], roof: Envelope) -> bool:
    bandwidth = (roof.bytes_per_s or float("inf")) * (1 + 1e-9)
    return any(rate > bandwidth * point.intensity for rate, point in zip(_rates(points), points, strict=True))


def _rates(points: Sequence[LayerCost]) -> list[float]:
    return [point.macs_per_s or 0.0 for point in points]


def _rate_unit(rates: Sequence[float]) -> tuple[float, str]:
    return next(((size, name) for size, name in RATES if max(rates) >= size), RATES[-1])


def _roof(points: Sequence[LayerCost], roof: Envelope, size: float) -> dict[str, Any]:
    """The slope of the bandwidth up to the peak, and level from there."""
    low = min(point.intensity for point in points) / MARGIN
    high = max(point.intensity for point in points) * MARGIN
    corners = [low, high]
    if roof.bytes_per_s is not None and low < roof.macs_per_s / roof.bytes_per_s < high:
        corners.insert(1, roof.macs_per_s / roof.bytes_per_s)
    heights = [min(roof.macs_per_s, (roof.bytes_per_s or float("inf")) * corner) for corner in corners]
    bandwidth = f"<br>{roof.bytes_per_s / 1e9:.3g} GB/s" if roof.bytes_per_s is not None else ""
    hover = f"{inert(roof.words, 120)}<br>peak {roof.macs_per_s / 1e9:.3g} GMAC/s{bandwidth}"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": inert(roof.words, 90),
        "x": corners,
        "y": [height / size for height in heights],
        "line": {"color": colours.NEUTRAL, "width": 2, "dash": "dash" if roof.words == ACHIEVED else "solid"},
        "hovertext": [hover] * len(corners),
        "hoverinfo": "text",
    }


def _marks(points: Sequence[LayerCost], bound: str, size: float) -> dict[str, Any]:
    chosen = [point for point in points if point.bound_by == bound]
    unit = unit_for("latency", [point.latency_s for point in points])
    return {
        "type": "scatter",
        "mode": "markers",
        "name": colours.bound_words(bound),
        "x": [point.intensity for point in chosen],
        "y": [(point.macs_per_s or 0.0) / size for point in chosen],
        "customdata": [point.index for point in chosen],
        "marker": {
            "color": colours.of_bound(bound),
            "symbol": colours.symbol_of_bound(bound),
            "size": [7 + 17 * point.share**0.5 for point in chosen],
            "opacity": 0.85,
            "line": {"width": 1, "color": "#ffffff"},
        },
        "hovertext": [_hover(point, point.hover(unit)) for point in chosen],
        "hoverinfo": "text",
    }


def _hover(point: LayerCost, words: str) -> str:
    rate = (point.macs_per_s or 0.0) / 1e9
    return f"{words}<br>{rate:.3g} GMAC/s at {point.intensity:.3g} MACs per byte"


def _layout(
    title: str, table: CostTable, widths: tuple[int, int], rate: str, spans: Sequence[Sequence[float]]
) -> dict[str, Any]:
    target = table.target
    base = layout(
        inert(title, 200),
        height=420,
        xaxis=_decades("MACs per byte of weights and activations, each moved once", spans[0]),
        yaxis=_decades(f"Achieved {rate}, {target.provenance}", spans[1]),
    )
    base["legend"] = {**base["legend"], "font": {"size": 11}}
    note = f"at {widths_words(table, *widths)}, a pass of {target.batch}; larger marks take more of the time"
    base["meta"] = {**base["meta"], "note": note, "provenance": target.provenance}
    return base


def _decades(title: str, values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis. Its labels are text: plotly's own powers write styles into the page."""
    steps = (1, 2, 5) if max(values) < 300 * min(values) else (1,)
    ticks = [step * 10.0**power for power in range(-15, 15) for step in steps]
    return axis(title, type="log", tickmode="array", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
