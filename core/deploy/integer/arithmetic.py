"""Sums, products with constants, batch norms that no layer absorbs, concatenation: all of them only note scales."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from core.deploy.batch_norm import factor_and_shift
from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.functions import function_of
from core.deploy.integer.products import product_of_tensors
from core.deploy.integer.resampling import in_fixed_point, resampled
from core.deploy.integer.sites import finely
from core.deploy.integer.summing import settled, summable
from core.deploy.integer.values import Doubles, Pieces, Value
from core.graph.pointwise import pointwise_source
from core.graph.vocabulary import (
    ADD_FUNCTIONS,
    BATCH_NORM_TYPES,
    PRODUCT_FUNCTIONS,
    SUBTRACT_FUNCTIONS,
    is_constant_product,
    is_product_of_tensors,
)

EXTREMES: frozenset[Callable[..., Any]] = frozenset({torch.maximum, torch.minimum})
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
    kind = _kind(builder, node)
    if kind is not None:
        builder.values[node] = kind(builder, node)
    return kind is not None


def _kind(builder: Builder, node: fx.Node) -> Callable[[Builder, fx.Node], Value] | None:
    if node.target in ADD_FUNCTIONS | SUBTRACT_FUNCTIONS:
        return _sum
    if is_constant_product(node):
        return _constant_matrix
    source = pointwise_source(builder.model, node)
    if source is not node and _is_of_its_own(node):
        return lambda builder, node: function_of(builder, node, source)
    if is_product_of_tensors(node):
        return product_of_tensors
    if node.target in EXTREMES:
        return _extreme
    return _scaled if node.target in PRODUCT_FUNCTIONS | QUOTIENTS else None


def _is_of_its_own(node: fx.Node) -> bool:
    """Whether it is more than a factor: a product or quotient of functions of one tensor, a power, a reciprocal."""
    if len(node.all_input_nodes) != 1 or node.target not in PRODUCT_FUNCTIONS | QUOTIENTS:
        return True
    return all(isinstance(each, fx.Node) for each in node.args[:2]) or (
        node.target in QUOTIENTS and not isinstance(node.args[0], fx.Node)
    )


def _normalised(builder: Builder, node: fx.Node, norm: nn.Module) -> Value:
    factor, shift = factor_and_shift(norm, str(node.target))  # type: ignore[arg-type]
    value = settled(builder, node, builder.value(node.all_input_nodes[0]), float(np.abs(factor).max()))
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


def _sum(builder: Builder, node: fx.Node) -> Value:
    sign = -1.0 if node.target in SUBTRACT_FUNCTIONS else 1.0
    operands = [_operand(builder, node, each) for each in node.args[:2]]
    first, second = operands
    if isinstance(first, Value) and isinstance(second, Value):
        return _sum_of_tensors(builder, node, first, second, sign)
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    of_value, of_constant = (1.0, sign) if isinstance(first, Value) else (sign, 1.0)
    assert isinstance(value, Value)  # noqa: S101 - for the type checker; a sum of constants is a constant
    added = _constant(builder, value, constant) * of_constant
    if value.pending and added.size == 1:
        number = float(added.reshape(-1)[0])
        return value.through(lambda x: x * of_value + number)
    return settled(builder, node, value).affine(of_value, added)


def _sum_of_tensors(builder: Builder, node: fx.Node, first: Value, second: Value, sign: float) -> Value:
    if first.pending or second.pending:
        raise no_integer_form(node, "an operand of the sum is on no grid", SAME_SCALE_HINT)
    first, second = _to_one_shape(builder, node, first, second.affine(sign, 0.0))
    return replace(first, terms=first.terms + second.terms, offset=first.offset + second.offset)


def _to_one_shape(builder: Builder, node: fx.Node, *values: Value) -> list[Value]:
    """Repeated along dimensions of length 1, as torch does."""
    shapes = [builder.shape(value) for value in values]
    if len({len(shape) for shape in shapes}) > 1:
        raise no_integer_form(node, "tensors of different ranks are added", "bring them to one rank before they meet")
    wanted = np.broadcast_shapes(*shapes)
    return [
        value
        if shape == wanted
        else builder.moved(node, value, "repeat", [to // have for to, have in zip(wanted, shape, strict=True)], wanted)
        for value, shape in zip(values, shapes, strict=True)
    ]


def _extreme(builder: Builder, node: fx.Node) -> Value:
    """max(a, b) = b + max(a - b, 0), and the minimum likewise: a sum of integers."""
    first, second = (_operand(builder, node, each) for each in node.args[:2])
    if not isinstance(first, Value) or not isinstance(second, Value):
        raise no_integer_form(node, "a tensor and a constant are compared", "clamp the tensor instead")
    first, second = _to_one_shape(builder, node, settled(builder, node, first), settled(builder, node, second))
    opposite = second.affine(-1.0, 0.0)
    difference = replace(first, terms=first.terms + opposite.terms, offset=first.offset + opposite.offset)
    limits = (0.0, math.inf) if node.target is torch.maximum else (-math.inf, 0.0)
    rest = finely(builder, node, difference.clamped(*limits))
    return replace(second, terms=second.terms + rest.terms)


def _constant_matrix(builder: Builder, node: fx.Node) -> Value:
    """rows @ x along the last dimension but one, or x @ columns along the last."""
    first, second = (_operand(builder, node, each) for each in node.args[:2])
    from_left = not isinstance(first, Value)
    value, matrix = (second, first) if from_left else (first, second)
    if not isinstance(value, Value) or isinstance(matrix, Value) or matrix.ndim != 2:
        raise no_integer_form(node, "it multiplies by a constant that is no matrix", "use the ONNX QDQ file")
    value = summable(builder, node, value, 1)
    rank = len(builder.shape(value))
    axis = rank - 2 if from_left else rank - 1
    if axis < 0:
        raise no_integer_form(node, "it mixes the images of a batch", "use the ONNX QDQ file for this network")
    return resampled(builder, node, value, {axis: in_fixed_point(matrix if from_left else matrix.T)})


def _scaled(builder: Builder, node: fx.Node) -> Value:
    first, second = (_operand(builder, node, each) for each in node.args[:2])
    divides = node.target in QUOTIENTS
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    if not isinstance(value, Value) or isinstance(constant, Value) or (divides and value is second):
        raise no_integer_form(node, "a tensor divides", "use the ONNX QDQ file for this network")
    factor = 1 / _constant(builder, value, constant) if divides else _constant(builder, value, constant)
    if value.pending and factor.size == 1:
        number = float(factor.reshape(-1)[0])
        return value.through(lambda x: x * number)
    return settled(builder, node, value, float(np.abs(factor).max())).affine(factor, 0.0)


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
