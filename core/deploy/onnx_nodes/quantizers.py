"""Activation quantizers, exact to the bit.

Plain grids: QuantizeLinear, Clip on integers where the type holds more, DequantizeLinear. Clipping integers between the
two (as Brevitas' QCDQ export does) lets onnxruntime fuse a convolution with the QuantizeLinear behind it; a float Clip
in front would keep them apart. Sixteen bits have no integer Clip kernel.

An offset is subtracted in front and added behind. Rounding up is a division and Ceil, whose integers QuantizeLinear
then takes by a scale of 1. Thresholds are searched bit by bit, highest first:

    position <- position + 2^k  where  x >= thresholds[position + 2^k - 1]          k = b - 1, ..., 0

so that b comparisons find one of 2^b - 1 thresholds, and the value stands in a table.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from core.deploy.activation_grids import SiteGrid
from core.deploy.onnx_nodes.call import Call
from core.deploy.onnx_nodes.containers import ACTIVATION_TYPES, RANGES, smallest_type
from core.quantizers.site_range import ActivationGrid, Floats


def emit_site(call: Call, site: SiteGrid) -> None:
    """x -> the value of the grid that its quantizer gives it."""
    grid = site.grid
    if grid.thresholds:
        _emit_searched(call, site)
        return
    source = call.input
    offset = call.graph.constant(f"{site.name}.grid_offset", grid.offset) if grid.offset else None
    if offset is not None:
        source = call.step("without_offset", "Sub", source, offset)
    scale = call.graph.constant(f"{site.name}.grid_scale", grid.scale)
    step = scale
    if grid.rounding == "up":
        source = call.step("up", "Ceil", call.step("steps", "Div", source, scale))
        step = call.graph.constant(f"{site.name}.grid_one", 1.0)
    _emit_codes(call, site, source, step, scale, offset)


def _emit_codes(call: Call, site: SiteGrid, source: str, step: str, scale: str, offset: str | None) -> None:
    """round(source / step), clipped, as integers, and the value that they mean."""
    grid, graph = site.grid, call.graph
    onnx_type = smallest_type(min(grid.low, grid.zero_point), max(grid.high, grid.zero_point), ACTIVATION_TYPES)
    narrower = (grid.low, grid.high) != RANGES[onnx_type]
    wide = onnx_type in (TensorProto.INT16, TensorProto.UINT16)
    zero_point = graph.integers(f"{site.name}.grid_zero_point", np.array(grid.zero_point), onnx_type)
    if narrower and wide:
        source = _clipped_values(call, site, source, 1.0 if grid.rounding == "up" else grid.scale)
    codes = call.step("quantized", "QuantizeLinear", source, step, zero_point)
    if narrower and not wide:
        low = graph.integers(f"{site.name}.grid_low", np.array(grid.low), onnx_type)
        high = graph.integers(f"{site.name}.grid_high", np.array(grid.high), onnx_type)
        codes = call.step("clipped", "Clip", codes, low, high)
    if offset is None:
        call.emit("DequantizeLinear", codes, scale, zero_point)
    else:
        call.emit("Add", call.step("dequantized", "DequantizeLinear", codes, scale, zero_point), offset)


def _clipped_values(call: Call, site: SiteGrid, source: str, step: float) -> str:
    grid = site.grid
    low = call.graph.constant(f"{site.name}.grid_low", (grid.low - grid.zero_point) * step)
    high = call.graph.constant(f"{site.name}.grid_high", (grid.high - grid.zero_point) * step)
    return call.step("clipped", "Clip", source, low, high)


def _emit_searched(call: Call, site: SiteGrid) -> None:
    grid = site.grid
    depth = len(grid.thresholds).bit_length()
    beyond = np.full(2**depth - 1 - len(grid.thresholds), np.inf)  # nothing finite comes to lie behind these
    table = call.graph.constant(f"{site.name}.grid_thresholds", np.concatenate([grid.thresholds, beyond]))
    position = None
    for bit in reversed(range(depth)):
        position = _next_position(call, table, position, bit)
    values = call.graph.constant(f"{site.name}.grid_values", _values(grid, 2**depth))
    call.emit("Gather", values, str(position))


def _next_position(call: Call, table: str, position: str | None, bit: int) -> str:
    step = call.graph.constant(f"half.{bit}", 2**bit, "int32")
    last = call.graph.constant(f"half.{bit}.last", 2**bit - 1, "int32")
    probe = last if position is None else call.step(f"probe.{bit}", "Add", position, last)
    threshold = call.step(f"threshold.{bit}", "Gather", table, probe)
    reached = call.step(f"reached.{bit}", "GreaterOrEqual", call.input, threshold)
    add = call.step(f"add.{bit}", "Mul", call.step(f"flag.{bit}", "Cast", reached, to=TensorProto.INT32), step)
    return add if position is None else call.step(f"position.{bit}", "Add", position, add)


def _values(grid: ActivationGrid, count: int) -> Floats:
    """By position; the last one over again where infinity comes to lie."""
    values = grid.values(np.array(grid.levels or range(grid.low, grid.high + 1), np.int32))
    return np.pad(values, (0, count - len(values)), "edge")
