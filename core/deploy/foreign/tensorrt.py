"""Precisions and dynamic ranges for TensorRT, as JSON: for `ILayer.precision` and `ITensor.set_dynamic_range`.

A dynamic range r is symmetric: TensorRT rounds to r / 127 times -127 ... 127 (8 bits). `as_trained` says whether that
grid has every level that the network was trained with, so that nothing is rounded anew: a ReLU's output with codes up
to 255 has not. Tensors are named as layers read them; an operand of an addition has `_residual` behind its name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from core.deploy.activation_grids import grids_by_name
from core.deploy.foreign.tensorrt_policy import FORMAT, tensorrt_layers
from core.graph.inventory import Inventory
from core.policy import Policy
from core.quantizers.site_range import ActivationGrid

LARGEST_CODE = 127


def tensorrt_json(model: fx.GraphModule, inventory: Inventory, policy: Policy) -> dict[str, Any]:
    """The file as JSON."""
    layers = tensorrt_layers(inventory, policy)
    return {
        "format": FORMAT,
        "version": 1,
        "layers": layers,
        "tensors": {name: _tensor(site.grid) for name, site in grids_by_name(model).items()},
        "residual_bits": policy.residual_bits,
        "not_at_their_bits": [name for name, layer in layers.items() if "cannot" in layer],
    }


def _tensor(grid: ActivationGrid) -> dict[str, Any]:
    values = _extremes(grid)
    largest = float(np.abs(values).max())
    lowest_code, highest_code = grid.low - grid.zero_point, grid.high - grid.zero_point
    whole = grid.offset == 0 and max(-lowest_code, highest_code) == LARGEST_CODE
    return {"dynamic_range": largest, "as_trained": bool(whole and grid.plain)}


def _extremes(grid: ActivationGrid) -> np.ndarray[Any, np.dtype[np.float32]]:
    ends = (grid.levels[0], grid.levels[-1]) if grid.levels else (grid.low, grid.high)
    return grid.values(np.array(ends, np.int32))
