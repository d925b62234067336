"""What can be computed while importing: shape arithmetic, and weights made by nodes.

Each result is checked for size before it is computed, and all together may not exceed one limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from core.errors import TooLarge
from core.graph.onnx_file import MAX_ELEMENTS, as_float32, check_size, to_array
from core.graph.operators.operation import Array, Constant, Operation

Folder = Callable[[Operation], Array]

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Pow": np.power, "Min": np.minimum, "Max": np.maximum,
    "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Floor": np.floor,
    "Ceil": np.ceil, "Reciprocal": np.reciprocal, "Equal": np.equal, "Greater": np.greater, "Less": np.less,
    "GreaterOrEqual": np.greater_equal, "LessOrEqual": np.less_equal, "And": np.logical_and, "Or": np.logical_or,
    "Not": np.logical_not, "Where": np.where, "Mod": np.mod, "Sum": np.add,
}  # fmt: skip


class Folding:
    """Computes nodes whose inputs are all constant, within one budget of elements."""

    def __init__(self) -> None:
        self._elements_left = MAX_ELEMENTS

    def can(self, operation: Operation) -> bool:
        """Whether the node is known here and reads constants only."""
        constant = all(value is None or isinstance(value, Constant) for value in operation.inputs)
        return constant and (operation.node.op_type in FOLDERS or operation.node.op_type in ELEMENTWISE)

    def fold(self, operation: Operation) -> list[Constant]:
        """The node's outputs; only Split has several."""
        try:
            with np.errstate(all="ignore"):
                arrays = self._compute(operation)
        except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as problem:
            operation.refuse(f"it cannot be computed from its constants ({problem})")
        names = [*operation.node.output, *([""] * len(arrays))]
        self._spend(sum(array.size for array in arrays))
        return [Constant(as_float32(np.asarray(array)), name) for array, name in zip(arrays, names, strict=False)]

    def _compute(self, operation: Operation) -> list[Array]:
        kind = operation.node.op_type
        if kind == "Split":
            return _split(operation)
        if kind in ELEMENTWISE:
            return [self._elementwise(operation)]
        return [FOLDERS[kind](operation)]

    def _elementwise(self, operation: Operation) -> Array:
        arrays = [operation.array(index) for index in range(len(operation.inputs))]
        check_size(np.broadcast_shapes(*(array.shape for array in arrays)), f"node {operation.node.name}")
        function = ELEMENTWISE[operation.node.op_type]
        if operation.node.op_type in ("Min", "Max", "Sum"):
            result = arrays[0]
            for array in arrays[1:]:
                result = function(result, array)
            return result
        return np.asarray(function(*arrays))

    def _spend(self, elements: int) -> None:
        self._elements_left -= elements
        if self._elements_left < 0:
            raise TooLarge(
                f"the network computes more than {MAX_ELEMENTS} constant values", hint="simplify it with onnxsim"
            )


def _constant(operation: Operation) -> Array:
    for name, make in CONSTANT_ATTRIBUTES.items():
        value = operation.attribute(name)
        if value is not None:
            return make(value)
    return operation.refuse("it has no value that is supported")


CONSTANT_ATTRIBUTES: dict[str, Callable[[Any], Array]] = {
    "value": to_array,
    "value_float": lambda value: np.array(value, np.float32),
    "value_floats": lambda value: np.array(value, np.float32),
    "value_int": lambda value: np.array(value, np.int64),
    "value_ints": lambda value: np.array(value, np.int64),
}


def _constant_of_shape(operation: Operation) -> Array:
    shape = operation.integers(0)
    check_size(shape, f"node {operation.node.name or operation.node.output[0]}")
    stored = operation.attribute("value")
    fill = np.zeros(1, np.float32) if stored is None else to_array(stored)
    return np.full(shape, fill.reshape(-1)[0], fill.dtype)


def _div(operation: Operation) -> Array:
    left, right = operation.array(0), operation.array(1)
    check_size(np.broadcast_shapes(left.shape, right.shape), f"node {operation.node.name}")
    if left.dtype.kind == "f":
        return np.asarray(left / right)
    if not np.all(right):
        operation.refuse("a division by zero")
    quotient = np.abs(left) // np.abs(right)  # integers are cut off towards zero
    return np.asarray(quotient * np.sign(left) * np.sign(right)).astype(left.dtype)


def _cast(operation: Operation) -> Array:
    target = int(operation.attribute("to", onnx.TensorProto.FLOAT))
    return operation.array(0).astype(onnx.helper.tensor_dtype_to_np_dtype(target))


def _gather(operation: Operation) -> Array:
    data, indices, axis = operation.array(0), operation.array(1), int(operation.attribute("axis", 0))
    axis = operation.axis(axis, data.ndim)
    check_size((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]), f"node {operation.node.name}")
    return np.take(data, indices.astype(np.int64), axis=axis)


def _concat(operation: Operation) -> Array:
    arrays = [operation.array(index) for index in range(len(operation.inputs))]
    check_size([sum(array.size for array in arrays)], f"node {operation.node.name}")
    return np.concatenate(arrays, axis=int(operation.attribute("axis", 1)))


def _slice(operation: Operation) -> Array:
    data = operation.array(0)
    starts = operation.attribute_or_input("starts", 1, 10) or []
    ends = operation.attribute_or_input("ends", 2, 10) or []
    axes = operation.attribute_or_input("axes", 3, 10) or list(range(len(starts)))
    steps = (operation.integers(4) if operation.opset >= 10 and operation.has(4) else None) or [1] * len(starts)
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        stop = None if step < 0 and end <= -(2**31) + 1 else end
        index[operation.axis(axis, data.ndim)] = slice(start, stop, step)
    return data[tuple(index)]


def _split(operation: Operation) -> list[Array]:
    data, count = operation.array(0), len(operation.node.output)
    sizes = operation.attribute_or_input("split", 1, 13)
    axis = operation.axis(int(operation.attribute("axis", 0)), data.ndim)
    part = -(-data.shape[axis] // count)
    cuts = np.cumsum(sizes)[:-1].tolist() if sizes else [part * index for index in range(1, count)]
    return list(np.split(data, cuts, axis=axis))


def _reshape(operation: Operation) -> Array:
    data, wanted = operation.array(0), operation.integers(1)
    keeps_zero = not operation.attribute("allowzero", 0)
    return data.reshape([data.shape[at] if size == 0 and keeps_zero else size for at, size in enumerate(wanted)])


def _squeeze(operation: Operation) -> Array:
    axes = operation.attribute_or_input("axes", 1, 13)
    return np.squeeze(operation.array(0), axis=None if axes is None else tuple(axes))


def _unsqueeze(operation: Operation) -> Array:
    return np.expand_dims(operation.array(0), tuple(operation.attribute_or_input("axes", 1, 13) or ()))


def _expand(operation: Operation) -> Array:
    data = operation.array(0)
    shape = np.broadcast_shapes(data.shape, tuple(operation.integers(1)))
    check_size(shape, f"node {operation.node.name}")
    return np.broadcast_to(data, shape)


def _tile(operation: Operation) -> Array:
    data, repeats = operation.array(0), operation.integers(1)
    check_size([data.size, *repeats], f"node {operation.node.name}")
    return np.tile(data, repeats)


def _range(operation: Operation) -> Array:
    start, limit, delta = (operation.array(index).reshape(()).item() for index in range(3))
    if not delta:
        operation.refuse("a step of 0")
    check_size([max(0, math.ceil((float(limit) - float(start)) / float(delta)))], f"node {operation.node.name}")
    return np.arange(start, limit, delta, dtype=operation.array(0).dtype)


def _reduce(function: Callable[..., Any], since: int) -> Folder:
    def folder(operation: Operation) -> Array:
        axes = operation.attribute_or_input("axes", 1, since)
        axis = None if axes is None else tuple(axes)
        return np.asarray(function(operation.array(0), axis=axis, keepdims=bool(operation.attribute("keepdims", 1))))

    return folder


def _pad(operation: Operation) -> Array:
    data = operation.array(0)
    amounts = operation.attribute_or_input("pads", 1, 11) or []
    pairs = [(amounts[axis], amounts[axis + data.ndim]) for axis in range(data.ndim)]
    check_size([length + sum(pair) for length, pair in zip(data.shape, pairs, strict=True)], "a padded constant")
    fill = operation.array(2).reshape(()) if operation.has(2) else operation.attribute("value", 0.0)
    return np.pad(data, pairs, mode="constant", constant_values=fill)


def _identity(operation: Operation) -> Array:
    return operation.array(0)


FOLDERS: dict[str, Folder] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _div,
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _identity,
    "Reshape": _reshape,
    "Flatten": lambda operation: _flatten(operation.array(0), int(operation.attribute("axis", 1))),
    "Transpose": lambda operation: np.transpose(operation.array(0), operation.attribute("perm")),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
    "ReduceProd": _reduce(np.prod, 18),
    "ReduceSum": _reduce(np.sum, 13),
    "ReduceMax": _reduce(np.max, 18),
    "ReduceMin": _reduce(np.min, 18),
    "ReduceMean": _reduce(np.mean, 18),
    "Pad": _pad,
    "Identity": _identity,
    "Dropout": _identity,
}


def _flatten(data: Array, axis: int) -> Array:
    axis += data.ndim if axis < 0 else 0
    return data.reshape(math.prod(data.shape[:axis]), -1)
