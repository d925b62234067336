"""Layers: the weight as `weights` writes it, then Conv, ConvTranspose, Gemm or MatMul.

Where the bias goes is decided by what onnxruntime does under its default optimisations (measured with 1.31):

- behind a dequantized input and before a QuantizeLinear, a float bias is rounded to multiples of S_x * S_w. At 8 bits
  that is nothing; at 2 bits it changes the network. So the bias is the operator's own only where the convolution
  will run in 8-bit integers and the rounding stays under 1/128 of the output's step; elsewhere it is an Add;
- a *float* layer in such a place would have its weight rounded to int8. A Sub of the negated bias keeps it apart
  (an Add would be merged into the convolution first);
- a convolution or MatMul with 2-bit weights that it tries to run in integers does not load at all.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from onnx import TensorProto
from torch import fx, nn

from core.deploy.activation_grids import SiteGrid
from core.deploy.deploy_layers import DeployLayer
from core.deploy.integer_weight import Floats, IntegerWeight
from core.deploy.onnx_nodes.call import Call
from core.deploy.onnx_nodes.containers import TWO_BIT_TYPES, WEIGHT_TYPES
from core.deploy.onnx_nodes.weights import container, emit_weight

STEPS_OF_BIAS = 64  # the bias' rounding is half of S_x * S_w, so under 1/128 of the output's step
LARGEST_BIAS = 2**30


def emit_layer(call: Call, layer: DeployLayer) -> None:
    """The layer with its bias; its value is that of the absorbed batch norm where there is one."""
    own_bias = _bias_belongs_to_operator(call, layer)
    weight = _weight(call, layer, own_bias)
    inputs = [call.input, weight]
    if own_bias and layer.bias is not None:
        inputs.append(call.graph.constant(f"{layer.name}.bias", layer.bias))
    operator, attributes = operator_of(call, layer.module)
    if own_bias or (layer.bias is None and layer.integers is not None):
        call.emit(operator, *inputs, **attributes)
    else:
        _emit_with_separate_bias(call, layer, operator, inputs, attributes)
    call.graph.values[layer.output] = call.graph.values[layer.node]


def _emit_with_separate_bias(
    call: Call, layer: DeployLayer, operator: str, inputs: list[str], attributes: dict[str, Any]
) -> None:
    product = call.step("product", operator, *inputs, **attributes)
    channels = layer.module.out_features if isinstance(layer.module, nn.Linear) else layer.module.out_channels
    bias = np.zeros(channels, np.float32) if layer.bias is None else layer.bias
    bias = bias if isinstance(layer.module, nn.Linear) else bias.reshape(-1, 1, 1)
    if layer.integers is None:
        call.emit("Sub", product, call.graph.constant(f"{layer.name}.negated_bias", -bias))
    else:
        call.emit("Add", product, call.graph.constant(f"{layer.name}.bias", bias))


def _bias_belongs_to_operator(call: Call, layer: DeployLayer) -> bool:
    if not call.graph.sites:
        return True  # a float network
    reads, feeds = call.graph.sites.get(layer.node.all_input_nodes[0]), _next_site(call, layer.output)
    if layer.integers is None or layer.bias is None or not isinstance(layer.module, nn.Conv2d):
        return False
    if reads is None or feeds is None or not _runs_in_integers(layer.integers, reads, feeds):
        return False
    step = reads.grid.scale * np.abs(layer.integers.scale.astype(np.float64))
    rounds_finely = step.max() * STEPS_OF_BIAS <= feeds.grid.scale
    return bool(rounds_finely and (np.abs(layer.bias) <= LARGEST_BIAS * step).all())


def _runs_in_integers(weight: IntegerWeight, reads: SiteGrid, feeds: SiteGrid) -> bool:
    plain = reads.grid.plain and feeds.grid.plain and reads.bits == 8 and feeds.bits == 8
    return plain and not weight.has_offset and container(weight, WEIGHT_TYPES) == (TensorProto.INT8, "codes")


def _next_site(call: Call, output: fx.Node) -> SiteGrid | None:
    """The quantizer that alone reads a layer's output, directly or behind what onnxruntime moves it in front of."""
    readers = list(output.users)
    while len(readers) == 1 and isinstance(_module(readers[0]), nn.ReLU | nn.MaxPool2d):
        readers = list(readers[0].users)
    return call.graph.sites.get(readers[0]) if len(readers) == 1 else None


def _module(node: fx.Node) -> nn.Module | None:
    owner = cast(nn.Module, node.graph.owning_module)
    return owner.get_submodule(str(node.target)) if node.op == "call_module" else None


def operator_of(call: Call, module: nn.Module) -> tuple[str, dict[str, Any]]:
    """The ONNX operator of a layer, and its attributes."""
    if isinstance(module, nn.Linear):
        return ("MatMul", {}) if is_sequence(call) else ("Gemm", {"transB": 1})
    window = cast(nn.Conv2d, module)
    padding = cast(tuple[int, ...], window.padding)
    attributes = {
        "kernel_shape": window.kernel_size,
        "strides": window.stride,
        "dilations": window.dilation,
        "pads": [*padding, *padding],
        "group": window.groups,
    }
    if isinstance(module, nn.ConvTranspose2d):
        return "ConvTranspose", {**attributes, "output_padding": module.output_padding}
    return "Conv", attributes


def is_sequence(call: Call) -> bool:
    """Whether a linear layer reads several positions: it is then a MatMul, with the weight transposed."""
    return len(call.shape) > 2


def _weight(call: Call, layer: DeployLayer, own_bias: bool) -> str:
    transposed = isinstance(layer.module, nn.Linear) and is_sequence(call)
    if layer.integers is None:
        call.graph.weight_types[layer.name] = "float32"
        weight = cast(Floats, layer.weight)
        return call.graph.constant(f"{layer.name}.weight", weight.T if transposed else weight)
    types = _weight_types(layer, own_bias, transposed)
    return emit_weight(call, layer.name, layer.integers, types, transposed=transposed)


def _weight_types(layer: DeployLayer, own_bias: bool, as_matmul: bool) -> tuple[int, ...]:
    """Two bits not in a MatMul, and in a convolution only where an Add keeps it from what reads it."""
    separated = not own_bias and layer.bias is not None
    if not as_matmul and (separated or not isinstance(layer.module, nn.Conv2d)):
        return WEIGHT_TYPES
    return tuple(each for each in WEIGHT_TYPES if each not in TWO_BIT_TYPES)
