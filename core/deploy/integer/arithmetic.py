"""Sums, products with constants, batch norms that no layer absorbs, concatenation: all of them only note scales."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from core.deploy.batch_norm import factor_and_shift
from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.functions import product_of_same
from core.deploy.integer.values import Doubles, Pieces, Value
from core.graph.vocabulary import BATCH_NORM_TYPES

ADDITIONS: frozenset[Callable[..., Any]] = frozenset({torch.add, operator.add, operator.iadd})
SUBTRACTIONS: frozenset[Callable[..., Any]] = frozenset({torch.sub, operator.sub})
PRODUCTS: frozenset[Callable[..., Any]] = frozenset({torch.mul, operator.mul})
QUOTIENTS: frozenset[Callable[..., Any]] = frozenset({torch.div, operator.truediv})
SAME_SCALE_HINT = "keep 8 or 16 bits at both operands"


def build_arithmetic(builder: Builder, node: fx.Node, module: nn.Module | None) -> bool:
    """Whether the node is arithmetic; its value is then noted."""
    if isinstance(module, BATCH_NORM_TYPES):
        builder.values[node] = _normalised(builder, node, module)
        return True
    if node.op != "call_function" or node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("rounding_mode") is not None:
        return False
    if node.target is torch.cat:
        builder.values[node] = _beside_each_other(builder, node)
        return True
    if node.target in ADDITIONS | SUBTRACTIONS:
        builder.values[node] = _sum(builder, node, -1.0 if node.target in SUBTRACTIONS else 1.0)
        return True
    if node.target in PRODUCTS | QUOTIENTS:
        builder.values[node] = _product(builder, node)
        return True
    return False


def _normalised(builder: Builder, node: fx.Node, norm: nn.Module) -> Value:
    value = builder.value(node.all_input_nodes[0])
    if value.pending:
        raise no_integer_form(node, "it normalises a function that is on no grid", "quantize its input")
    factor, shift = factor_and_shift(norm, str(node.target))  # type: ignore[arg-type]
    shape = [1] * len(builder.shape(value))
    shape[0] = -1
    return value.affine(factor.reshape(shape), shift.reshape(shape))


def _beside_each_other(builder: Builder, node: fx.Node) -> Pieces:
    tensors: Any = node.args[0]
    given: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    axis = int(given)
    values = tuple(builder.value(each) for each in tensors)
    rank = len(builder.shape(values[0]))
    axis = axis - 1 if axis >= 0 else rank + axis
    return Pieces(values, axis)


def _sum(builder: Builder, node: fx.Node, sign: float) -> Value:
    operands = [_operand(builder, node, each) for each in node.args[:2]]
    values = [each for each in operands if isinstance(each, Value)]
    if any(value.pending for value in values):
        raise no_integer_form(node, "an operand of the sum is on no grid", SAME_SCALE_HINT)
    first, second = operands
    if isinstance(first, Value) and isinstance(second, Value):
        second = second.affine(sign, 0.0)
        if builder.shape(first) != builder.shape(second):
            raise no_integer_form(node, "tensors of different shapes are added", "expand them before they meet")
        return replace(first, terms=first.terms + second.terms, offset=first.offset + second.offset)
    if isinstance(first, Value):
        return first.affine(1.0, _constant(builder, first, second) * sign)
    return values[0].affine(sign, _constant(builder, values[0], first))


def _product(builder: Builder, node: fx.Node) -> Value:
    first, second = (_operand(builder, node, each) for each in node.args[:2])
    divides = node.target in QUOTIENTS
    if isinstance(first, Value) and isinstance(second, Value):
        product = None if divides else product_of_same(first, second)
        if product is None:
            raise no_integer_form(node, "two tensors are multiplied", "use the ONNX QDQ file for this network")
        return product
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    if not isinstance(value, Value) or (divides and value is second):
        raise no_integer_form(node, "a number is divided by a tensor", "use the ONNX QDQ file for this network")
    factor = _constant(builder, value, constant)
    if value.pending:
        spread = 1 / factor if divides else factor
        if spread.size > 1:
            raise no_integer_form(node, "a function on no grid is scaled per channel", "quantize its input")
        return value.through(lambda x: x * float(spread.reshape(-1)[0]))
    return value.affine(1 / factor if divides else factor, 0.0)


def _operand(builder: Builder, node: fx.Node, argument: Any) -> Value | Doubles:
    if isinstance(argument, fx.Node) and argument.op != "get_attr":
        return builder.value(argument)
    if isinstance(argument, fx.Node):
        constant = operator.attrgetter(str(argument.target))(builder.model)
        values: Doubles = constant.detach().cpu().double().numpy()
        return values
    return np.array(float(argument), np.float64)


def _constant(builder: Builder, value: Value, constant: Any) -> Doubles:
    """Shaped as a scale: without the batch."""
    rank = len(builder.shape(value))
    array = np.asarray(constant, np.float64)
    if array.ndim > rank:
        array = array.reshape(array.shape[array.ndim - rank :])
    return array.reshape([1] * (rank - array.ndim) + list(array.shape))
