"""Writes a fake-quantized network as QONNX, the dialect of ONNX that Brevitas writes and FINN and hls4ml read.

Pappalardo et al. 2022, "QONNX: Representing Arbitrary-Precision Quantized Neural Networks",
https://arxiv.org/abs/2206.07527; the operators: https://github.com/fastmachinelearning/qonnx, opset 1.

    Quant(x, scale, zeropt, bitwidth) = (round(clamp(x / scale + zeropt, low, high)) - zeropt) * scale
    BipolarQuant(x, scale) = scale where x >= 0, else -scale

with low and high from `bitwidth`, `signed` and `narrow`. Weights stay float in the file, already on their grid, each
behind its Quant; `bitwidth` is the policy's own, so 3 bits are 3 bits. What is decided here:

- batch norms stay nodes of their own, as Brevitas leaves them: FINN's streamlining turns them into thresholds, and the
  scales in front stay positive;
- the bitwidth of a Quant is one number, as FINN asks: a layer whose channels have widths of their own is refused;
- biases stay float, inside Conv and Gemm;
- what Quant cannot say is refused by name: levels that are not equally far apart, searched thresholds, odd integers
  (but for one bit: BipolarQuant), and an offset that is no whole number of steps.

With a zero point that is odd, a value exactly half way between two integers may fall to the other one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from onnx import helper, shape_inference
from torch import fx, nn

from core.deploy.activation_grids import SiteGrid, is_site, site_grids
from core.deploy.deploy_layers import DeployLayer, layers_beside_norms
from core.deploy.integer_weight import Floats, IntegerWeight
from core.deploy.onnx_nodes.call import Call
from core.deploy.onnx_nodes.graph import OnnxGraph
from core.deploy.onnx_nodes.layers import is_sequence, operator_of
from core.deploy.onnx_nodes.registry import emit_call
from core.deploy.onnx_qdq import PRODUCER, batched_input, named_outputs, save_checked
from core.errors import UnsupportedModel
from core.graph.inventory import Inventory
from core.graph.vocabulary import called_module
from core.policy import Policy

DOMAIN = "qonnx.custom_op.general"
DOMAIN_VERSION = 1
LARGEST_STEP_FRACTION = 1e-4  # how far an offset may be from a whole number of steps: float32 rounding only
_ALTERNATIVE = "use the packed file or ONNX with QuantizeLinear, which can say it"


@dataclass(frozen=True)
class QuantRange:
    """Which integers a Quant clamps to, and by how much they lie above the quantizer's own codes."""

    bits: int
    signed: bool
    narrow: bool
    shift: int

    @classmethod
    def of(cls, bits: int, low: int, high: int) -> QuantRange | None:
        """The range with as many integers as low to high; None if there is none."""
        fitting = [found for found in _ranges(bits, low) if found[0] - low + high == found[1]]
        if not fitting:
            return None
        lowest, _, signed, narrow = min(fitting, key=lambda found: abs(found[0] - low))
        return cls(bits, signed, narrow, lowest - low)


def _ranges(bits: int, low: int) -> Iterator[tuple[int, int, bool, bool]]:
    """(lowest, highest, signed, narrow). One signed bit would be bipolar in FINN, so it is left out."""
    yield 0, 2**bits - 1, False, False
    if bits > 1:
        half = 2 ** (bits - 1)
        yield -half, half - 1, True, False
        if low < 0:
            yield 1 - half, half - 1, True, True
        yield 0, 2**bits - 2, False, True


def write_qonnx(model: fx.GraphModule, inventory: Inventory, policy: Policy, path: Path) -> None:
    """Write `model`, as `quantize` or `fine_tune` returns it. Raises UnsupportedModel naming layer or tensor."""
    written = _written(model)
    proto = helper.make_model(
        helper.make_graph(
            written.nodes,
            "network",
            [batched_input(model, inventory)],
            named_outputs(model, written),
            list(written.initializers.values()),
        ),
        producer_name=PRODUCER,
        producer_version=version("bitfront"),
        opset_imports=[helper.make_opsetid("", written.opset), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)],
    )
    proto.ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", written.opset)])
    properties = {"bitfront.version": version("bitfront"), "bitfront.policy": policy.model_dump_json()}
    helper.set_model_props(proto, properties)
    save_checked(shape_inference.infer_shapes(proto), path)


def _written(model: fx.GraphModule) -> OnnxGraph:
    graph = OnnxGraph(site_grids(model))
    layers = {layer.node: layer for layer in layers_beside_norms(model)}
    for node in model.graph.nodes:
        call = Call(graph, node, called_module(model, node))
        if node.op == "placeholder":
            graph.values[node] = node.name
        elif node in layers:
            _emit_layer(call, layers[node])
        elif node in graph.sites:
            _emit_site(call, graph.sites[node])
        elif is_site(node):
            call.same()
        elif node.op != "output":
            emit_call(call)
    return graph


def _emit_site(call: Call, site: SiteGrid) -> None:
    grid = site.grid
    if grid.thresholds or grid.levels:
        raise _refused(f"the tensor {site.name}", "has levels or thresholds of its own")
    zero_point = _whole_steps(grid.zero_point - grid.offset / grid.scale)
    if zero_point is None:
        raise _refused(f"the tensor {site.name}", "has an offset that is no whole number of steps")
    found = QuantRange.of(site.bits, grid.low, grid.high)
    if found is None:
        raise _refused(f"the tensor {site.name}", f"has codes {grid.low} to {grid.high}, which {site.bits} bits lack")
    inputs = [
        call.floats("scale", grid.scale),
        call.floats("zeropt", zero_point + found.shift),
        call.floats("bitwidth", found.bits),
    ]
    rounding = "CEIL" if grid.rounding == "up" else "ROUND"
    call.emit("Quant", call.input, *inputs, **_attributes(found, rounding))


def _attributes(found: QuantRange, rounding: str) -> dict[str, Any]:
    return {"domain": DOMAIN, "signed": int(found.signed), "narrow": int(found.narrow), "rounding_mode": rounding}


def _emit_layer(call: Call, layer: DeployLayer) -> None:
    transposed = isinstance(layer.module, nn.Linear) and is_sequence(call)
    inputs = [call.input, _weight(call, layer, transposed=transposed)]
    operator, attributes = operator_of(call, layer.module)
    bias = None if layer.bias is None else call.graph.constant(f"{layer.name}.bias", layer.bias)
    if bias is None or not transposed:
        call.emit(operator, *inputs, *([] if bias is None else [bias]), **attributes)
    else:
        call.emit("Add", call.step("product", operator, *inputs, **attributes), bias)


def _weight(call: Call, layer: DeployLayer, *, transposed: bool) -> str:
    weight = layer.integers
    values = cast(Floats, layer.weight) if weight is None else weight.values()
    name = call.graph.constant(f"{layer.name}.weight", values.T if transposed else values)
    if weight is None:
        return name

    def along(part: str, per_channel: NDArray[Any]) -> str:
        """One number where all channels have the same."""
        one = bool((per_channel == per_channel[0]).all())
        spread = per_channel[0] if one else weight.spread(per_channel)
        return call.graph.constant(f"{layer.name}.{part}", spread.T if transposed else spread)

    bits = _one_width(layer.name, weight)
    if _bipolar(weight):
        scale = along("weight_scale", weight.scale * weight.high)
        return call.step("quantized", "BipolarQuant", name, scale, domain=DOMAIN)
    zero_point, found = _weight_range(layer.name, weight, bits)
    inputs = [along("weight_scale", weight.scale), along("weight_zeropt", zero_point)]
    width = call.graph.constant(f"{layer.name}.weight_bitwidth", found.bits)
    return call.step("quantized", "Quant", name, *inputs, width, **_attributes(found, "ROUND"))


def _one_width(name: str, weight: IntegerWeight) -> int:
    widths = sorted({int(bits) for bits in weight.bits})
    if len(widths) > 1:
        told = ", ".join(map(str, widths))
        raise _refused(f"layer {name}", f"has channels of {told} bits, and a Quant has one bitwidth")
    if widths[0] == 0:
        raise _refused(f"layer {name}", "is pruned to 0 bits")
    return widths[0]


def _bipolar(weight: IntegerWeight) -> bool:
    """Two values around zero in every channel."""
    two = bool((weight.high - weight.low == weight.step).all())
    return two and weight.levels is None and not weight.has_offset and bool((weight.low == -weight.high).all())


def _weight_range(name: str, weight: IntegerWeight, bits: int) -> tuple[NDArray[Any], QuantRange]:
    """Zero point of each channel, and what all of them are clamped to."""
    if weight.levels is not None:
        raise _refused(f"layer {name}", "has levels that are not equally far apart")
    if (weight.step != 1).any():
        raise _refused(f"layer {name}", "has odd integers, whose zero point would be half a step")
    zero_points = [_whole_steps(float(-each)) for each in weight.offset.astype(np.float64) / weight.scale]
    if None in zero_points:
        raise _refused(f"layer {name}", "has an offset that is no whole number of steps")
    found = QuantRange.of(bits, int(weight.low.min()), int(weight.high.max()))
    if found is None or len({*weight.low.tolist()}) > 1 or len({*weight.high.tolist()}) > 1:
        raise _refused(f"layer {name}", f"has codes that {bits} bits of a Quant lack")
    return np.array(zero_points, np.float32) + found.shift, found


def _whole_steps(steps: float) -> int | None:
    return round(steps) if abs(steps - round(steps)) < LARGEST_STEP_FRACTION else None


def _refused(what: str, why: str) -> UnsupportedModel:
    return UnsupportedModel(f"QONNX has no form for it: {what} {why}", hint=_ALTERNATIVE)
