"""AIMET's encodings, version 0.6.1, which Qualcomm's converters read as quantization overrides.

https://quic.github.io/aimet-pages, "Encoding Format Specification"; https://github.com/qualcomm/aimet.

    value = scale * (q + offset),   0 <= q < 2^bitwidth,   min = scale * offset,   max = scale * (offset + steps)

so `offset` is the negated zero point of an unsigned code: -128 for a signed symmetric int8. Weights have an entry for
each output channel, with batch norm absorbed, as AIMET folds it before it encodes. Tensors are named as layers read
them (`reads` in the inventory, and in policy.csv); an operand of an addition that a layer reads as well has the name
with `_residual` behind it. What is float has no entry.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from core.deploy.activation_grids import SiteGrid, grids_by_name
from core.deploy.deploy_layers import deploy_layers
from core.deploy.foreign.aimet_policy import ACTIVATIONS, PARAMETERS, RESIDUAL_SUFFIX
from core.deploy.integer_weight import IntegerWeight
from core.errors import UnsupportedModel

VERSION = "0.6.1"
Encoding = dict[str, Any]


def aimet_encodings(model: fx.GraphModule) -> dict[str, Any]:
    """The file as JSON. Raises UnsupportedModel naming a layer or tensor whose grid has no encoding."""
    sites = grids_by_name(model)
    activations = {_tensor(name, sites): [_of_site(site)] for name, site in sites.items()}
    parameters = {
        f"{layer.name}.weight": _of_weight(layer.name, layer.integers)
        for layer in deploy_layers(model)
        if layer.integers is not None
    }
    return {"version": VERSION, ACTIVATIONS: activations, PARAMETERS: parameters, "excluded_layers": []}


def _tensor(name: str, sites: dict[str, SiteGrid]) -> str:
    plain = name.removesuffix(RESIDUAL_SUFFIX)
    return name if plain in sites else plain


def _of_site(site: SiteGrid) -> Encoding:
    grid = site.grid
    if grid.thresholds or grid.levels or grid.rounding != "nearest":
        raise _refused(f"the tensor {site.name}", "does not round to the nearest of evenly spaced levels")
    lowest = grid.low - grid.zero_point + grid.offset / grid.scale
    return _encoding(f"the tensor {site.name}", site.bits, grid.scale, lowest, grid.high - grid.low)


def _of_weight(name: str, weight: IntegerWeight) -> list[Encoding]:
    if len({*weight.bits.tolist()}) > 1:
        raise _refused(f"layer {name}", "has channels of several widths")
    if weight.levels is not None:
        raise _refused(f"layer {name}", "has levels that are not evenly spaced")
    return [_of_channel(name, weight, channel) for channel in range(len(weight.bits))]


def _of_channel(name: str, weight: IntegerWeight, channel: int) -> Encoding:
    """A negative scale, which an absorbed batch norm can leave, mirrors the codes."""
    low, high, step = (int(part[channel]) for part in (weight.low, weight.high, weight.step))
    scale, offset = float(weight.scale[channel]), float(weight.offset[channel])
    if scale < 0:
        scale, low, high = -scale, -high, -low
    if scale == 0 or high == low:
        raise _refused(f"layer {name}", f"has nothing but one value in channel {channel}")
    size = scale * step
    return _encoding(
        f"layer {name}", int(weight.bits[channel]), size, (scale * low + offset) / size, (high - low) // step
    )


def _encoding(what: str, bits: int, scale: float, lowest: float, steps: int) -> Encoding:
    offset = round(lowest)
    if abs(lowest - offset) > 1e-4:
        raise _refused(what, "has an offset that is no whole number of steps")
    return {
        "bitwidth": bits,
        "dtype": "int",
        "is_symmetric": str(offset in (-(2 ** (bits - 1)), 1 - 2 ** (bits - 1)) and steps >= -2 * offset - 1),
        "max": scale * (offset + steps),
        "min": scale * offset,
        "offset": offset,
        "scale": scale,
    }


def _refused(what: str, why: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"AIMET's encodings have no form for it: {what} {why}",
        hint="use the packed file or ONNX with QuantizeLinear, which can say it",
    )
