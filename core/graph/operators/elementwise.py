"""Arithmetic on single values. The sum of two computed tensors is `torch.add`, a join."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import nn

from core.graph.operators.operation import Constant, Operation, Traced
from core.graph.operators.registry import operator
from core.graph.vocabulary import LAYER_TYPES

BINARY: dict[str, Callable[..., Any]] = {
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Pow": torch.pow,
}
UNARY: dict[str, Callable[..., Any]] = {
    "Sqrt": torch.sqrt,
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Exp": torch.exp,
    "Log": torch.log,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Reciprocal": torch.reciprocal,
    "Erf": torch.erf,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Cos": torch.cos,
}
VARIADIC: dict[str, Callable[..., Any]] = {"Sum": torch.add, "Min": torch.minimum, "Max": torch.maximum}


@operator("Add")
def add(operation: Operation) -> Traced:
    """A join, or the bias of the layer before it, or an added constant."""
    for tensor, constant in ((0, 1), (1, 0)):
        value, other = operation.value(tensor), operation.value(constant)
        if isinstance(value, Traced) and isinstance(other, Constant):
            return _as_bias(operation, tensor, value, other) or _with_constant(operation, torch.add, value, other)
    return operation.call(torch.add, operation.tensor(0), operation.tensor(1))


@operator(*BINARY)
def binary(operation: Operation) -> Traced:
    """Two operands with broadcasting; a constant of one element becomes a number."""
    function, left, right = BINARY[operation.node.op_type], operation.value(0), operation.value(1)
    if isinstance(left, Traced) and isinstance(right, Constant):
        return _with_constant(operation, function, left, right)
    return operation.call(function, operation.tensor(0), operation.tensor(1))


@operator(*UNARY)
def unary(operation: Operation) -> Traced:
    """One operand."""
    return operation.call(UNARY[operation.node.op_type], operation.tensor(0))


@operator(*VARIADIC)
def variadic(operation: Operation) -> Traced:
    """Two at a time, from the left."""
    tensors = [operation.tensor(index) for index in range(len(operation.inputs))]
    function = VARIADIC[operation.node.op_type]
    return reduce(lambda left, right: operation.call(function, left, right), tensors)


@operator("Mean")
def mean(operation: Operation) -> Traced:
    """Mean of the operands, value by value."""
    return operation.call(torch.div, variadic_sum(operation), float(len(operation.inputs)))


def variadic_sum(operation: Operation) -> Traced:
    """Sum of all operands."""
    tensors = [operation.tensor(index) for index in range(len(operation.inputs))]
    return reduce(lambda left, right: operation.call(torch.add, left, right), tensors)


def _with_constant(operation: Operation, function: Callable[..., Any], value: Traced, other: Constant) -> Traced:
    if other.array.size == 1 and other.array.ndim <= len(value.shape):
        return operation.call(function, value, float(other.array.reshape(())))
    return operation.call(function, value, operation.builder.constant(other.array, other.name or "constant"))


def _as_bias(operation: Operation, index: int, value: Traced, added: Constant) -> Traced | None:
    """Give the layer before its bias, if nothing else reads that layer and the constant is one value per output."""
    layer = operation.builder.module_of(value)
    if not isinstance(layer, LAYER_TYPES):
        return None
    axis = len(value.shape) - 1 if isinstance(layer, nn.Linear) else 1
    per_output = [length if position == axis else 1 for position, length in enumerate(value.shape)]
    aligned = (1,) * (len(value.shape) - added.array.ndim) + added.shape
    if layer.bias is not None or not operation.read_once(index) or list(aligned) != per_output:
        return None
    layer.bias = nn.Parameter(torch.tensor(added.array, dtype=torch.float32).reshape(-1))
    return value
