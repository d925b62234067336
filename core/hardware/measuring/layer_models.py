"""One layer as an ONNX network of its own, with random weights: how long it takes does not depend on them.

In float: Conv, ConvTranspose, Gemm, or MatMul over sequences, without bias. In int8: QLinearConv and QLinearMatMul with
unsigned activations and signed weights, one scale per output channel. onnxruntime has no integer kernel for transposed
convolutions, which stand between DequantizeLinear and QuantizeLinear, as they do in a quantized network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from core.errors import InvalidInput
from core.graph.inventory import Layer

OPSET = 17
MOST_PARAMETERS = 400_000_000  # in float, what fits the two gigabytes of a protobuf
FLOAT, HALF, INT8 = (32, 32), (16, 16), (8, 8)
_STEP, _MIDDLE = 0.02, 128  # of the activations' grid


@dataclass(frozen=True)
class LayerModel:
    """An ONNX file in memory with the one input that it reads."""

    content: bytes
    name: str
    input: NDArray[Any]


def layer_model(layer: Layer, pair: tuple[int, int], batch: int) -> LayerModel:
    """The layer at 32/32 (float), 16/16 (half precision) or 8/8 (int8), for a batch of that many images."""
    if layer.parameters > MOST_PARAMETERS:
        raise InvalidInput(
            f"layer {layer.name!r} has {layer.parameters:,} weights, too many for a file of its own",
            hint=f"layers of up to {MOST_PARAMETERS:,} weights can be measured",
        )
    rng = np.random.default_rng(0)
    return _in_int8(layer, batch, rng) if pair == INT8 else _in_float(layer, batch, rng, half=pair == HALF)


def _in_float(layer: Layer, batch: int, rng: np.random.Generator, *, half: bool) -> LayerModel:
    kind = np.float16 if half else np.float32
    x = rng.standard_normal((batch, *layer.input_shape)).astype(kind)
    weight = (0.05 * rng.standard_normal(_weight_shape(layer))).astype(kind)
    operator, attributes = _operator(layer)
    node = helper.make_node(operator, ["x", "w"], ["y"], **attributes)
    return _model(layer, [node], {"w": weight}, x)


def _in_int8(layer: Layer, batch: int, rng: np.random.Generator) -> LayerModel:
    shape = _weight_shape(layer)
    x = rng.integers(0, 256, (batch, *layer.input_shape), dtype=np.uint8)
    channels = shape[-1] if layer.kind == "linear" else shape[0]
    tensors: dict[str, NDArray[Any]] = {
        "w": rng.integers(-127, 128, shape, dtype=np.int8),
        "w_scale": np.full(channels, 0.01, np.float32),
        "w_zero": np.zeros(channels, np.int8),
        **{f"{side}_scale": np.array(_STEP, np.float32) for side in "xy"},
        **{f"{side}_zero": np.array(_MIDDLE, np.uint8) for side in "xy"},
    }
    if layer.kind == "conv_transpose2d":
        return _transposed_in_int8(layer, tensors, x)
    operator = "QLinearMatMul" if layer.kind == "linear" else "QLinearConv"
    attributes = {} if layer.kind == "linear" else _operator(layer)[1]
    inputs = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero"]
    return _model(layer, [helper.make_node(operator, inputs, ["y"], **attributes)], tensors, x)


def _transposed_in_int8(layer: Layer, tensors: dict[str, NDArray[Any]], x: NDArray[Any]) -> LayerModel:
    operator, attributes = _operator(layer)
    one_scale: dict[str, NDArray[Any]] = {"w_scale": np.array(0.01, np.float32), "w_zero": np.array(0, np.int8)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["x_float"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_float"]),
        helper.make_node(operator, ["x_float", "w_float"], ["y_float"], **attributes),
        helper.make_node("QuantizeLinear", ["y_float", "y_scale", "y_zero"], ["y"]),
    ]
    return _model(layer, nodes, {**tensors, **one_scale}, x)


def _weight_shape(layer: Layer) -> tuple[int, ...]:
    """As ONNX stores it; of a linear layer, inputs first."""
    return layer.weight_shape[::-1] if layer.kind == "linear" else layer.weight_shape


def _operator(layer: Layer) -> tuple[str, dict[str, Any]]:
    if layer.kind == "linear":
        return ("Gemm" if len(layer.input_shape) == 1 else "MatMul"), {}
    common = {"kernel_shape": layer.weight_shape[2:], "strides": layer.stride, "group": layer.groups}
    if layer.kind == "conv_transpose2d":
        windows = [_transposed_window(layer, axis) for axis in (0, 1)]
        return "ConvTranspose", {**common, "pads": _pads(windows), "output_padding": [each[2] for each in windows]}
    windows = [_window(layer, axis) for axis in (0, 1)]
    return "Conv", {**common, "pads": _pads(windows), "dilations": [each[2] for each in windows]}


def _pads(windows: list[tuple[int, int, int]]) -> list[int]:
    return [each[0] for each in windows] + [each[1] for each in windows]


def _window(layer: Layer, axis: int) -> tuple[int, int, int]:
    """Padding before and after, and dilation, that lead from the layer's input to its output shape.

    An inventory has no dilation; what its padding does not explain is padded evenly.
    """
    into, out = layer.input_shape[1 + axis], layer.output_shape[1 + axis]
    taps, stride, begin, end = layer.weight_shape[2 + axis], layer.stride[axis], *layer.padding[axis::2]
    for dilation in range(1, 1 + (max(into + begin + end - 1, 1) // (taps - 1) if taps > 1 else 1)):
        if (into + begin + end - dilation * (taps - 1) - 1) // stride + 1 == out:
            return begin, end, dilation
    missing = max((out - 1) * stride + taps - into, 0)
    if (into + missing - taps) // stride + 1 != out:
        raise _unfitting(layer)
    return missing // 2, missing - missing // 2, 1


def _transposed_window(layer: Layer, axis: int) -> tuple[int, int, int]:
    """Padding before and after, and what is added to the output."""
    into, out = layer.input_shape[1 + axis], layer.output_shape[1 + axis]
    taps, stride = layer.weight_shape[2 + axis], layer.stride[axis]
    surplus = (into - 1) * stride + taps - out
    begin = layer.padding[axis]
    added = max(begin + layer.padding[axis + 2] - surplus, 0)
    if added >= stride:  # the declared padding does not lead there
        begin, added = max(surplus, 0) // 2, max(-surplus, 0)
    end = surplus + added - begin
    if end < 0 or added >= stride:
        raise _unfitting(layer)
    return begin, end, added


def _unfitting(layer: Layer) -> InvalidInput:
    return InvalidInput(
        f"layer {layer.name!r}: no padding leads from {layer.input_shape} to {layer.output_shape}",
        hint="check the layer's shapes and stride",
    )


def _model(layer: Layer, nodes: list[NodeProto], tensors: dict[str, NDArray[Any]], x: NDArray[Any]) -> LayerModel:
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    shape = (x.shape[0], *layer.output_shape)
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return LayerModel(model.SerializeToString(), layer.name, x)
