"""One function per kind of operation. Values between operations are int32; products in a requantization int64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from core.deploy.integer.program import (
    IntegerProgram,
    Lookup,
    Move,
    Multiply,
    Operation,
    Pool,
    Product,
    Requantize,
    Resample,
    Scale,
    Threshold,
)
from core.deploy.onnx_integer.graph import IntegerGraph
from core.errors import UnsupportedModel

SIGN_BITS = 62  # adding 2^62 makes every sum of a requantization positive, so that an unsigned shift rounds down
END = 2**31 - 1
MOST_TAPS = 64


def emit(graph: IntegerGraph, program: IntegerProgram, operation: Operation) -> None:
    """Write one operation. Raises UnsupportedModel naming the node that ONNX's integer operators cannot hold."""
    _RULES[type(operation)](graph, program, operation)


def _rank(program: IntegerProgram, tensor: str) -> int:
    return len(program.tensors[tensor].shape) + 1


def _multiply(graph: IntegerGraph, program: IntegerProgram, operation: Multiply) -> None:
    x, zero = _unsigned(graph, program, operation, operation.inputs[0], operation.zero)
    codes, factor, correction = _eight_bit(operation)
    acc = _products(graph, program, operation, x, zero, codes)
    rank = _rank(program, operation.output)
    axis = rank - 2 if operation.kind == "linear" else 0
    factor <<= operation.shift
    if (factor != 1).any():
        acc = graph.node("Mul", [acc, graph.per_channel(factor, axis, rank, np.int32)])
    offset = operation.offset + (correction << operation.shift)
    if offset.any():
        ones = np.ones_like(codes[: operation.groups])
        sums = _products(graph, program, operation, x, zero, ones)
        if operation.groups > 1:
            channel = np.arange(operation.groups).repeat(len(codes) // operation.groups)
            sums = graph.node("Gather", [sums, graph.constant(channel)], axis=1)
        acc = graph.node("Add", [acc, graph.node("Mul", [sums, graph.per_channel(offset, axis, rank, np.int32)])])
    bias = operation.bias
    shaped = bias[None] if bias.ndim > 1 else bias.reshape([-1 if d == axis + 1 else 1 for d in range(rank)])
    if bias.any():
        graph.node("Add", [acc, graph.constant(shaped, np.int32)], operation.output)
    else:
        graph.node("Identity", [acc], operation.output)


def _eight_bit(operation: Multiply) -> tuple[NDArray[np.int8], NDArray[np.int64], NDArray[np.int64]]:
    """int8 weights with code = factor[c] * weight + correction[c]: odd integers that span nine bits fit when halved."""
    rows = operation.codes.reshape(len(operation.codes), -1).astype(np.int64)
    channels = len(rows)
    if rows.min() >= -128 and rows.max() <= 127:
        return operation.codes.astype(np.int8), np.ones(channels, np.int64), np.zeros(channels, np.int64)
    low = rows.min(1)
    step = np.array([max(int(np.gcd.reduce(row - least)), 1) for row, least in zip(rows, low, strict=True)])
    weights = (rows - low[:, None]) // step[:, None] - 128
    if weights.max() > 127:
        raise UnsupportedModel(
            f"{operation.source} has weights of more than 8 bits, which ONNX's integer operators do not hold",
            hint="use the ONNX QDQ file, or give the layer fewer bits",
        )
    return weights.astype(np.int8).reshape(operation.codes.shape), step, low + 128 * step


def _products(
    graph: IntegerGraph, program: IntegerProgram, operation: Multiply, x: str, zero: int, codes: NDArray[np.int8]
) -> str:
    zero_point = graph.constant(zero, np.uint8)
    if operation.kind == "linear":
        return graph.node("MatMulInteger", [x, graph.constant(codes.T, np.int8), zero_point])
    window = operation.window
    top, left, bottom, right = window.padding
    attributes: dict[str, Any] = {"dilations": list(window.dilation), "group": operation.groups}
    attributes["kernel_shape"] = list(window.kernel)
    if operation.kind == "conv2d":
        attributes |= {"strides": list(window.stride), "pads": [top, left, bottom, right]}
        return graph.node("ConvInteger", [x, graph.constant(codes, np.int8), zero_point], **attributes)
    x = _spread(graph, x, zero, program.tensors[operation.inputs[0]].shape, window.stride)
    reach = [(extent - 1) * each for extent, each in zip(window.kernel, window.dilation, strict=True)]
    extra = operation.output_padding
    pads = [reach[0] - top, reach[1] - left, reach[0] - bottom + extra[0], reach[1] - right + extra[1]]
    turned = np.ascontiguousarray(codes[:, :, ::-1, ::-1])
    return graph.node("ConvInteger", [x, graph.constant(turned, np.int8), zero_point], pads=pads, **attributes)


def _spread(graph: IntegerGraph, x: str, zero: int, shape: tuple[int, ...], stride: tuple[int, int]) -> str:
    """Zeros between the pixels: a transposed convolution is a convolution of that."""
    channels, high, wide = shape
    (down, right) = stride
    x = graph.node("Reshape", [x, graph.constant([-1, channels, high, 1, wide, 1])])
    pads = graph.constant([0, 0, 0, 0, 0, 0, 0, 0, 0, down - 1, 0, right - 1])
    x = graph.node("Pad", [x, pads, graph.constant(zero, np.uint8)])
    x = graph.node("Reshape", [x, graph.constant([-1, channels, high * down, wide * right])])
    ends = graph.constant([(high - 1) * down + 1, (wide - 1) * right + 1])
    return graph.node("Slice", [x, graph.constant([0, 0]), ends, graph.constant([2, 3])])


def _requantize(graph: IntegerGraph, program: IntegerProgram, operation: Requantize) -> None:
    form, rank, axis = operation.dyadic, _rank(program, operation.output), operation.axis
    if form is None:
        raise UnsupportedModel("the integer ONNX file rounds once", hint="build the program with dyadic rounding")
    addend = form.addend - (form.multiplier * np.array(operation.zeros)[:, None]).sum(0) + 2**SIGN_BITS
    total = graph.per_channel(addend, axis, rank)
    for name, row in zip(operation.inputs, form.multiplier, strict=True):
        wide = graph.cast(name, TensorProto.INT64)
        total = graph.node("Add", [graph.node("Mul", [wide, graph.per_channel(row, axis, rank)]), total])
    positive = graph.cast(total, TensorProto.UINT64)
    shift = graph.per_channel(form.shift, axis, rank, np.uint64)
    shifted = graph.cast(graph.node("BitShift", [positive, shift], direction="RIGHT"), TensorProto.INT64)
    back = operation.zero - (np.int64(1) << (SIGN_BITS - form.shift))
    codes = graph.node("Add", [shifted, graph.per_channel(back, axis, rank)])
    graph.cast(_clipped(graph, program, operation, codes), TensorProto.INT32, operation.output)


def _clipped(graph: IntegerGraph, program: IntegerProgram, operation: Requantize, codes: str) -> str:
    """Between the grid's ends. onnxruntime (1.31) clips int64 by its lower half where it has vector instructions, so
    that numbers beyond 32 bits are compared instead.
    """
    low, high = graph.constant(operation.low), graph.constant(operation.high)
    if _largest_code(program, operation) <= END:
        return graph.node("Clip", [codes, low, high])
    codes = graph.node("Where", [graph.node("Less", [codes, low]), low, codes])
    return graph.node("Where", [graph.node("Greater", [codes, high]), high, codes])


def _largest_code(program: IntegerProgram, operation: Requantize) -> float:
    """What no unclipped result exceeds in magnitude."""
    assert operation.dyadic is not None  # noqa: S101 - for the type checker
    form, total = operation.dyadic, np.abs(operation.dyadic.addend.astype(np.float64))
    for name, zero, row in zip(operation.inputs, operation.zeros, form.multiplier, strict=True):
        facts = program.tensors[name]
        total = total + np.abs(row.astype(np.float64)) * max(abs(facts.low - zero), abs(facts.high - zero))
    return float((total / np.exp2(form.shift.astype(np.float64))).max()) + abs(operation.zero) + 1


def _threshold(graph: IntegerGraph, program: IntegerProgram, operation: Threshold) -> None:
    """How many thresholds are reached, all compared at once."""
    rank = _rank(program, operation.output)
    shape = [1] * rank + [operation.thresholds.shape[1]]
    shape[operation.axis + 1] = len(operation.thresholds)
    wide = graph.cast(operation.inputs[0], TensorProto.INT64)
    wide = graph.node("Unsqueeze", [wide, graph.constant([rank])])
    reached = graph.node("GreaterOrEqual", [wide, graph.constant(operation.thresholds.reshape(shape))])
    count = graph.node("ReduceSum", [graph.cast(reached, TensorProto.INT32), graph.constant([rank])], keepdims=0)
    graph.node("Gather", [graph.constant(operation.table, np.int32), count], operation.output)


def _lookup(graph: IntegerGraph, program: IntegerProgram, operation: Lookup) -> None:
    if len(operation.table) > 1:
        raise UnsupportedModel(f"{operation.source} has a table per channel", hint="use the ONNX QDQ file")
    entries = operation.table.shape[1]
    low, high = operation.low, operation.low + entries - 1
    x = graph.node("Clip", [operation.inputs[0], graph.constant(low, np.int32), graph.constant(high, np.int32)])
    x = graph.node("Sub", [x, graph.constant(low, np.int32)])
    graph.node("Gather", [graph.constant(operation.table[0], np.int32), x], operation.output)


def _scale(graph: IntegerGraph, program: IntegerProgram, operation: Scale) -> None:
    rank, axis = _rank(program, operation.output), operation.axis
    x = graph.cast(operation.inputs[0], TensorProto.INT64)
    x = graph.node("Mul", [x, graph.per_channel(operation.factor, axis, rank)])
    x = graph.node("Add", [x, graph.per_channel(operation.addend, axis, rank)])
    for operator, limit in (("Max", operation.low), ("Min", operation.high)):
        if limit is not None:
            x = graph.node(operator, [x, graph.per_channel(limit, axis, rank)])
    graph.cast(x, TensorProto.INT32, operation.output)


def _pool(graph: IntegerGraph, program: IntegerProgram, operation: Pool) -> None:
    window, x = operation.window, operation.inputs[0]
    shape = program.tensors[x].shape
    if operation.kind == "sum" and operation.zero:
        x = graph.node("Sub", [x, graph.constant(operation.zero, np.int32)])
    if operation.kind == "sum" and window.kernel == shape[1:] and not any(window.padding):
        graph.node("ReduceSum", [x, graph.constant([2, 3])], operation.output, keepdims=1)
        return
    top, left, bottom, right = window.padding
    if any(window.padding):
        filling = graph.constant(-(2**31) if operation.kind == "max" else 0, np.int32)
        x = graph.node("Pad", [x, graph.constant([0, 0, top, left, 0, 0, bottom, right]), filling])
    extents = (shape[1] + top + bottom, shape[2] + left + right)
    taps = [
        _tap(graph, x, window, extents, (row, column))
        for row in range(window.kernel[0])
        for column in range(window.kernel[1])
    ]
    operator = "Max" if operation.kind == "max" else "Add"
    total = taps[0]
    for tap in taps[1:]:
        total = graph.node(operator, [total, tap])
    graph.node("Identity", [total], operation.output)


def _tap(graph: IntegerGraph, x: str, window: Any, extents: tuple[int, int], position: tuple[int, int]) -> str:
    starts = [at * each for at, each in zip(position, window.dilation, strict=True)]
    ends = [
        start + extent - (size - 1) * each
        for start, extent, size, each in zip(starts, extents, window.kernel, window.dilation, strict=True)
    ]
    lists = (starts, ends, [2, 3], list(window.stride))
    return graph.node("Slice", [x, *(graph.constant(each) for each in lists)])


def _product(graph: IntegerGraph, program: IntegerProgram, operation: Product) -> None:
    if operation.kind == "matrices":
        counted = [
            _unsigned(graph, program, operation, name, zero)
            for name, zero in zip(operation.inputs, operation.zeros, strict=True)
        ]
        parts = [x for x, _ in counted]
        zeros = [graph.constant(zero, np.uint8) for _, zero in counted]
        graph.node("MatMulInteger", [*parts, *zeros], operation.output)
        return
    factors = [
        graph.node("Sub", [name, graph.constant(zero, np.int32)]) if zero else name
        for zero, name in zip(operation.zeros, operation.inputs, strict=True)
    ]
    graph.node("Mul", factors, operation.output)


def _unsigned(
    graph: IntegerGraph, program: IntegerProgram, operation: Operation, name: str, zero: int
) -> tuple[str, int]:
    """A tensor of at most 8 bits as uint8, counted from its lowest code, and its zero counted alike.

    Where no code reaches down to the zero, as behind a sum that a bias keeps above it, codes are counted from the zero.
    """
    facts = program.tensors[name]
    low, high = min(facts.low, zero), max(facts.high, zero)
    if high - low > 255:
        raise UnsupportedModel(
            f"{operation.source} reads more than 8 bits, which ONNX's integer operators do not",
            hint="give the tensor that it reads 8 bits or fewer",
        )
    x = graph.node("Sub", [name, graph.constant(low, np.int32)]) if low else name
    return graph.cast(x, TensorProto.UINT8), zero - low


def _resample(graph: IntegerGraph, program: IntegerProgram, operation: Resample) -> None:
    """Gathers the values of each tap and adds them up, weighted."""
    rank, axis, x = _rank(program, operation.output), operation.axis, operation.inputs[0]
    taps = operation.weights.shape[1]
    if taps > MOST_TAPS:
        raise UnsupportedModel(
            f"{operation.source} adds {taps} weighted values for each one, which ONNX has no short integer form for",
            hint="use the ONNX QDQ file",
        )
    if operation.zero:
        x = graph.node("Sub", [x, graph.constant(operation.zero, np.int32)])
    total = ""
    for places, weights in zip(operation.places.T, operation.weights.T, strict=True):
        taken = graph.node("Gather", [x, graph.constant(places)], axis=axis + 1)
        part = graph.node("Mul", [taken, graph.per_channel(np.ascontiguousarray(weights), axis, rank, np.int32)])
        total = graph.node("Add", [total, part]) if total else part
    graph.node("Identity", [total], operation.output)


def _move(graph: IntegerGraph, program: IntegerProgram, operation: Move) -> None:
    inputs, numbers, output = list(operation.inputs), operation.numbers, operation.output
    if operation.kind == "reshape":
        graph.node("Reshape", [inputs[0], graph.constant([-1, *numbers])], output)
    elif operation.kind == "permute":
        graph.node("Transpose", inputs, output, perm=[0, *(each + 1 for each in numbers)])
    elif operation.kind == "concat":
        graph.node("Concat", inputs, output, axis=numbers[0] + 1)
    elif operation.kind == "pad":
        pads = [0, *numbers[::2], 0, *numbers[1::2]]
        graph.node("Pad", [inputs[0], graph.constant(pads), graph.constant(operation.zero, np.int32)], output)
    elif operation.kind == "pixel-shuffle":
        _shuffle(graph, program, operation)
    else:
        _gathered(graph, program, operation)


def _shuffle(graph: IntegerGraph, program: IntegerProgram, operation: Move) -> None:
    factor, (channels, high, wide) = operation.numbers[0], program.tensors[operation.inputs[0]].shape
    rest = channels // factor**2
    x = graph.node("Reshape", [operation.inputs[0], graph.constant([-1, rest, factor, factor, high, wide])])
    x = graph.node("Transpose", [x], perm=[0, 1, 4, 2, 5, 3])
    graph.node("Reshape", [x, graph.constant([-1, rest, high * factor, wide * factor])], operation.output)


def _gathered(graph: IntegerGraph, program: IntegerProgram, operation: Move) -> None:
    """Slices, repetitions, selections and flips choose positions along axes, one axis after the other."""
    shape, numbers = program.tensors[operation.inputs[0]].shape, operation.numbers
    chosen: dict[int, NDArray[np.int64]] = {}
    for axis, extent in enumerate(shape):
        places = np.arange(extent)
        if operation.kind == "slice":
            chosen[axis] = places[slice(*numbers[3 * axis : 3 * axis + 3])]
        elif operation.kind == "repeat":
            chosen[axis] = places.repeat(numbers[axis])
        elif operation.kind == "flip" and axis in numbers:
            chosen[axis] = places[::-1]
        elif operation.kind == "select" and axis == numbers[0]:
            chosen[axis] = np.array(numbers[1:])
    x = operation.inputs[0]
    for axis, places in chosen.items():
        if not np.array_equal(places, np.arange(shape[axis])):
            x = graph.node("Gather", [x, graph.constant(places)], axis=axis + 1)
    graph.node("Identity", [x], operation.output)


_RULES: dict[type[Operation], Callable[[IntegerGraph, IntegerProgram, Any], None]] = {
    Multiply: _multiply,
    Requantize: _requantize,
    Threshold: _threshold,
    Lookup: _lookup,
    Scale: _scale,
    Pool: _pool,
    Product: _product,
    Resample: _resample,
    Move: _move,
}
