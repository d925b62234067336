"""Moves: values are selected, ordered or padded, never changed. The batch stays the first dimension, of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from core.graph.operators.operation import Array, Constant, Operation, Traced, Value
from core.graph.operators.registry import operator


def reshaped(operation: Operation, x: Traced, shape: Sequence[int]) -> Traced:
    """x in another shape; whatever the first dimension was in the file, it now follows the batch."""
    if tuple(shape) == x.shape:
        return x
    per_image = math.prod(x.shape[1:])
    if len(shape) == 2 and shape[1] == per_image and shape[0] == x.shape[0]:
        return operation.call_module(nn.Flatten(1), x)
    return operation.call(torch.reshape, x, (-1, *shape[1:]))


@operator("Flatten")
def flatten(operation: Operation) -> Traced:
    """To two dimensions, cut before `axis`."""
    x = operation.tensor(0)
    axis = int(operation.attribute("axis", 1))
    axis += len(x.shape) if axis < 0 else 0
    return reshaped(operation, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@operator("Reshape")
def reshape(operation: Operation) -> Traced:
    """To a constant shape; 0 keeps a dimension, -1 takes what is left."""
    x, wanted = operation.tensor(0), operation.integers(1)
    keeps_zero = not operation.attribute("allowzero", 0)
    if keeps_zero and any(size == 0 and position >= len(x.shape) for position, size in enumerate(wanted)):
        operation.refuse(f"shape {wanted} does not fit {list(x.shape)}")
    shape = [x.shape[position] if size == 0 and keeps_zero else size for position, size in enumerate(wanted)]
    known = math.prod(size for size in shape if size != -1)
    if shape.count(-1) == 1 and known > 0:
        shape[shape.index(-1)] = math.prod(x.shape) // known
    if not shape or min(shape) < 0 or math.prod(shape) != math.prod(x.shape):
        operation.refuse(f"shape {wanted} does not fit {list(x.shape)}")
    return reshaped(operation, x, shape)


@operator("Transpose")
def transpose(operation: Operation) -> Traced:
    """Reorder dimensions; two that undo one another vanish."""
    x = operation.tensor(0)
    order = [int(axis) for axis in operation.attribute("perm", list(reversed(range(len(x.shape)))))]
    if sorted(order) != list(range(len(x.shape))):
        operation.refuse(f"perm {order} does not fit {list(x.shape)}")
    if order == sorted(order):
        return x
    before = x.node
    if before.op == "call_function" and before.target is torch.permute:
        inner: Any = before.args[1]
        combined = [inner[axis] for axis in order]
        source: Any = before.args[0]
        if combined == sorted(combined):
            return Traced(source, x.meta.permute(order))
    return operation.call(torch.permute, x, tuple(order))


@operator("Squeeze")
def squeeze(operation: Operation) -> Traced:
    """Remove dimensions of size 1, never the batch."""
    x = operation.tensor(0)
    given = operation.attribute_or_input("axes", 1, 13)
    chosen = range(1, len(x.shape)) if given is None else given
    axes = {operation.axis(axis, len(x.shape)) for axis in chosen if given is not None or x.shape[axis] == 1}
    if 0 in axes:
        operation.refuse("it would remove the batch dimension")
    return reshaped(operation, x, [size for axis, size in enumerate(x.shape) if axis not in axes])


@operator("Unsqueeze")
def unsqueeze(operation: Operation) -> Traced:
    """Insert dimensions of size 1, never before the batch."""
    x = operation.tensor(0)
    given = operation.attribute_or_input("axes", 1, 13) or []
    rank = len(x.shape) + len(given)
    axes = {operation.axis(axis, rank) for axis in given}
    if 0 in axes:
        operation.refuse("it would insert a dimension before the batch")
    kept = iter(x.shape)
    return reshaped(operation, x, [1 if axis in axes else next(kept) for axis in range(rank)])


@operator("Concat")
def concat(operation: Operation) -> Traced:
    """A join along one axis other than the batch."""
    values = [operation.value(index) for index in range(len(operation.inputs))]
    traced = [value for value in values if isinstance(value, Traced)]
    axis = operation.axis(int(operation.attribute("axis", 1)), len(traced[0].shape))
    if axis == 0:
        operation.refuse("it would mix the images of a batch")
    if len(traced) == 1 and all(isinstance(value, Traced) or not value.array.any() for value in values):
        return _padded_with_zeros(operation, values, axis)
    if len(traced) < len(values):
        operation.refuse("concatenation with constants is not supported")
    return traced[0] if len(traced) == 1 else operation.call(torch.cat, traced, axis)


def _padded_with_zeros(operation: Operation, values: list[Value], axis: int) -> Traced:
    position = next(index for index, value in enumerate(values) if isinstance(value, Traced))
    before = sum(value.shape[axis] for value in values[:position])
    after = sum(value.shape[axis] for value in values[position + 1 :])
    x = operation.tensor(position)
    pads = [(0, 0)] * len(x.shape)
    pads[axis] = (before, after)
    return padded(operation, x, pads, "constant", 0.0)


@operator("Pad")
def pad(operation: Operation) -> Traced:
    """Constant, reflected or repeated borders; amounts are an attribute before opset 11, an input from then on."""
    x = operation.tensor(0)
    amounts = operation.attribute_or_input("pads", 1, 11) or []
    value = float(operation.attribute("value", 0.0))
    if operation.opset >= 11:
        value = float(operation.array(2).reshape(())) if operation.has(2) else 0.0
    axes = operation.integers(3) if operation.opset >= 18 and operation.has(3) else list(range(len(x.shape)))
    if len(amounts) != 2 * len(axes):
        operation.refuse(f"pads {amounts} do not fit {list(x.shape)}")
    pads = [(0, 0)] * len(x.shape)
    for position, axis in enumerate(axes):
        pads[operation.axis(axis, len(x.shape))] = (amounts[position], amounts[position + len(axes)])
    return padded(operation, x, pads, str(operation.attribute("mode", "constant")), value)


def padded(operation: Operation, x: Traced, pads: Sequence[tuple[int, int]], mode: str, value: float) -> Traced:
    """x with (before, after) added on each dimension."""
    if not any(amount for pair in pads for amount in pair):
        return x
    if any(pads[0]):
        operation.refuse("it would pad the batch")
    if mode not in PAD_MODULES:
        operation.refuse(f"mode {mode} is not supported; {', '.join(PAD_MODULES)} are")
    flat = tuple(amount for pair in reversed(pads) for amount in pair)
    if len(pads) == 4 and not any(flat[4:]):
        return operation.call_module(PAD_MODULES[mode](flat[:4], value), x)
    if mode != "constant":
        operation.refuse(f"mode {mode} is supported for height and width only")
    return operation.call(functional.pad, x, flat, "constant", value)


PAD_MODULES: dict[str, Any] = {
    "constant": nn.ConstantPad2d,
    "reflect": lambda amounts, _: nn.ReflectionPad2d(amounts),
    "edge": lambda amounts, _: nn.ReplicationPad2d(amounts),
}


@operator("DepthToSpace")
def depth_to_space(operation: Operation) -> Traced:
    """Blocks of channels become blocks of pixels. Mode CRD is PixelShuffle."""
    x, block = operation.tensor(0), int(operation.attribute("blocksize", 0))
    if len(x.shape) != 4 or block < 1 or x.shape[1] % (block * block):
        operation.refuse(f"blocksize {block} does not fit {list(x.shape)}")
    _, channels, height, width = x.shape
    if operation.attribute("mode", "DCR") == "CRD":
        return operation.call_module(nn.PixelShuffle(block), x)
    x = operation.call(torch.reshape, x, (-1, block, block, channels // block**2, height, width))
    x = operation.call(torch.permute, x, (0, 3, 4, 1, 5, 2))
    return operation.call(torch.reshape, x, (-1, channels // block**2, height * block, width * block))


@operator("SpaceToDepth")
def space_to_depth(operation: Operation) -> Traced:
    """Blocks of pixels become blocks of channels."""
    x, block = operation.tensor(0), int(operation.attribute("blocksize", 0))
    if len(x.shape) != 4 or block < 1 or x.shape[2] % block or x.shape[3] % block:
        operation.refuse(f"blocksize {block} does not fit {list(x.shape)}")
    _, channels, height, width = x.shape
    x = operation.call(torch.reshape, x, (-1, channels, height // block, block, width // block, block))
    x = operation.call(torch.permute, x, (0, 3, 5, 1, 2, 4))
    return operation.call(torch.reshape, x, (-1, channels * block**2, height // block, width // block))


@operator("Identity", "Dropout")
def unchanged(operation: Operation) -> Value:
    """The input. Dropout's mask is not available."""
    if operation.node.op_type == "Dropout" and len(operation.node.output) > 1 and operation.node.output[1]:
        name = operation.node.output[1]
        if operation.builder.onnx_graph.readers.get(name):
            operation.refuse("its mask is read")
    return operation.value(0)


@operator("Cast")
def cast(operation: Operation) -> Value:
    """Between floating point types: unchanged, as everything is float32 here."""
    target = int(operation.attribute("to", 0))
    if target not in FLOAT_TYPES:
        operation.refuse("a computed tensor can only be cast to floating point")
    return operation.value(0)


FLOAT_TYPES = frozenset({1, 10, 11, 16})  # TensorProto FLOAT, FLOAT16, DOUBLE, BFLOAT16


@operator("Shape")
def shape(operation: Operation) -> Constant:
    """Known while importing, for the batch size that the file was written for."""
    sizes = list(operation.value(0).shape)
    start, end = int(operation.attribute("start", 0)), operation.attribute("end", None)
    return Constant(np.array(sizes[start:end], dtype=np.int64))


@operator("Size")
def size(operation: Operation) -> Constant:
    """The number of elements."""
    elements: Array = np.array(math.prod(operation.value(0).shape), dtype=np.int64)
    return Constant(elements)
