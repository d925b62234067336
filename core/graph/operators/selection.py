"""Parts of a tensor: Slice, Split and Gather along axes other than the batch."""

from __future__ import annotations

import operator as python

import numpy as np
import torch

from core.graph.operators.operation import Operation, Traced
from core.graph.operators.registry import operator


@operator("Slice")
def slice_(operation: Operation) -> Traced:
    """Ranges with steps along axes other than the batch; attributes before opset 10, inputs from then on."""
    x = operation.tensor(0)
    starts = operation.attribute_or_input("starts", 1, 10) or []
    ends = operation.attribute_or_input("ends", 2, 10) or []
    axes = operation.attribute_or_input("axes", 3, 10) or list(range(len(starts)))
    steps = (operation.integers(4) if operation.opset >= 10 and operation.has(4) else None) or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        x = _sliced(operation, x, operation.axis(axis, len(x.shape)), (start, end, step))
    return x


def _sliced(operation: Operation, x: Traced, axis: int, limits: tuple[int, int, int]) -> Traced:
    if limits[2] == 0:
        operation.refuse("a step of 0")
    start, stop, step = slice(*_python_limits(*limits)).indices(x.shape[axis])
    taken = range(start, stop, step)
    if taken == range(x.shape[axis]):
        return x
    if axis == 0:
        operation.refuse("it would select images of a batch")
    if not taken:
        operation.refuse("it selects nothing")
    if step < 0:
        x = operation.call(torch.flip, x, (axis,))
        size = x.shape[axis]
        taken = range(size - 1 - taken[0], size - taken[-1], -step)
    return select(operation, x, axis, slice(taken[0], taken[-1] + 1, taken.step))


def _python_limits(start: int, end: int, step: int) -> tuple[int, int | None, int]:
    """ONNX counts a very negative end of a backward slice as before the beginning; Python writes None for it."""
    return (start, None if step < 0 and end <= -(2**31) + 1 else end, step)


def select(operation: Operation, x: Traced, axis: int, chosen: slice | int) -> Traced:
    """x[..., chosen, ...] at one axis."""
    everything = slice(None, None, None)
    index = tuple(chosen if position == axis else everything for position in range(len(x.shape)))
    return operation.call(python.getitem, x, index)


@operator("Split")
def split(operation: Operation) -> list[Traced]:
    """Parts along one axis: by sizes (attribute before opset 13, then input) or equal, the last one smaller."""
    x = operation.tensor(0)
    axis = operation.axis(int(operation.attribute("axis", 0)), len(x.shape))
    if axis == 0:
        operation.refuse("it would split the batch")
    count, length = len(operation.node.output), x.shape[axis]
    part = -(-length // count)
    equal = [max(0, min(part, length - part * index)) for index in range(count)]
    sizes = operation.attribute_or_input("split", 1, 13) or equal
    if len(sizes) != count or sum(sizes) != length or min(sizes) < 1:
        operation.refuse(f"parts {sizes} do not fit {length}")
    starts = np.cumsum([0, *sizes]).tolist()
    return [
        select(operation, x, axis, slice(start, start + size, 1)) for start, size in zip(starts, sizes, strict=False)
    ]


@operator("Gather")
def gather(operation: Operation) -> Traced:
    """Constant indices along an axis other than the batch."""
    x, indices = operation.tensor(0), operation.array(1)
    axis = operation.axis(int(operation.attribute("axis", 0)), len(x.shape))
    if axis == 0 or indices.ndim > 1 or indices.dtype.kind not in "iu":
        operation.refuse("only a list of constant indices along an axis other than the batch is supported")
    if indices.size == 0 or not (-x.shape[axis] <= indices.min() and indices.max() < x.shape[axis]):
        operation.refuse(f"indices do not fit a length of {x.shape[axis]}")
    indices = np.where(indices < 0, indices + x.shape[axis], indices)
    if indices.ndim == 0:
        return select(operation, x, axis, int(indices))
    return operation.call(torch.index_select, x, axis, operation.builder.constant(indices.astype(np.int64), "indices"))
