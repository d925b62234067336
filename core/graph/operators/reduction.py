"""Reductions over axes other than the batch. The mean over height and width is a global average pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from core.graph.operators.operation import Operation, Traced
from core.graph.operators.registry import operator
from core.graph.operators.shape import reshaped

AXES_AS_INPUT_SINCE = {"ReduceSum": 13}
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
}


@operator(*REDUCTIONS)
def reduction(operation: Operation) -> Traced:
    """Axes are an attribute before opset 18 (ReduceSum: 13), an input from then on."""
    x, kind = operation.tensor(0), operation.node.op_type
    given = operation.attribute_or_input("axes", 1, AXES_AS_INPUT_SINCE.get(kind, 18))
    if not given and operation.attribute("noop_with_empty_axes", 0):
        return x
    axes = sorted({operation.axis(axis, len(x.shape)) for axis in (given or range(len(x.shape)))})
    if 0 in axes:
        operation.refuse("it would mix the images of a batch")
    keeps = bool(operation.attribute("keepdims", 1))
    if kind == "ReduceMean" and axes == [2, 3] and len(x.shape) == 4:
        pooled = operation.call_module(nn.AdaptiveAvgPool2d(1), x)
        return pooled if keeps else reshaped(operation, pooled, pooled.shape[:2])
    return operation.call(REDUCTIONS[kind], x, axes, keeps)


@operator("ReduceL2")
def reduce_l2(operation: Operation) -> Traced:
    """Euclidean length over the axes."""
    x = operation.tensor(0)
    given = operation.attribute_or_input("axes", 1, 18)
    axes = sorted({operation.axis(axis, len(x.shape)) for axis in (given or range(len(x.shape)))})
    if 0 in axes:
        operation.refuse("it would mix the images of a batch")
    squares = operation.call(torch.sum, operation.call(torch.mul, x, x), axes, bool(operation.attribute("keepdims", 1)))
    return operation.call(torch.sqrt, squares)
