"""Activation quantizers: QuantizeLinear, Clip on integers where the type holds more, DequantizeLinear.

Clipping integers between the two (as Brevitas' QCDQ export does) lets onnxruntime fuse a convolution with the
QuantizeLinear behind it; a float Clip in front would keep them apart. Sixteen bits have no integer Clip kernel.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from core.deploy.activation_grids import SiteGrid
from core.deploy.onnx_nodes.call import Call
from core.deploy.onnx_nodes.containers import ACTIVATION_TYPES, RANGES, smallest_type
from core.quantizers.site_range import ActivationGrid


def emit_site(call: Call, site: SiteGrid) -> None:
    """x -> the nearest value of the grid."""
    grid, graph = site.grid, call.graph
    onnx_type = smallest_type(min(grid.low, grid.zero_point), max(grid.high, grid.zero_point), ACTIVATION_TYPES)
    narrower = (grid.low, grid.high) != RANGES[onnx_type]
    wide = onnx_type in (TensorProto.INT16, TensorProto.UINT16)
    scale = graph.constant(f"{site.name}.grid_scale", grid.scale)
    zero_point = graph.integers(f"{site.name}.grid_zero_point", np.array(grid.zero_point), onnx_type)
    source = _clipped_values(call, site, grid) if narrower and wide else call.input
    codes = call.step("quantized", "QuantizeLinear", source, scale, zero_point)
    if narrower and not wide:
        low = graph.integers(f"{site.name}.grid_low", np.array(grid.low), onnx_type)
        high = graph.integers(f"{site.name}.grid_high", np.array(grid.high), onnx_type)
        codes = call.step("clipped", "Clip", codes, low, high)
    call.emit("DequantizeLinear", codes, scale, zero_point)


def _clipped_values(call: Call, site: SiteGrid, grid: ActivationGrid) -> str:
    low = call.graph.constant(f"{site.name}.grid_low", (grid.low - grid.zero_point) * grid.scale)
    high = call.graph.constant(f"{site.name}.grid_high", (grid.high - grid.zero_point) * grid.scale)
    return call.step("clipped", "Clip", call.input, low, high)
