"""Elementwise functions, which stay pending: clamps as limits, everything else as the float64 function itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from core.deploy.integer.builder import Builder
from core.deploy.integer.sites import finely
from core.deploy.integer.summing import settled
from core.deploy.integer.values import Doubles, Pieces, Value
from core.graph.pointwise import CLAMP_FUNCTIONS, is_function, pointwise_function

CLAMPS: dict[type[nn.Module], Callable[[Any], tuple[float, float]]] = {
    nn.ReLU: lambda module: (0.0, math.inf),
    nn.ReLU6: lambda module: (0.0, 6.0),
    nn.Hardtanh: lambda module: (float(module.min_val), float(module.max_val)),
}


RELU_FUNCTIONS: frozenset[Callable[..., Any]] = frozenset({torch.relu, functional.relu})


def build_function(builder: Builder, node: fx.Node, module: nn.Module | None) -> bool:
    """Whether the node is an elementwise function; its value then has it pending."""
    clamp = _clamp(node, module)
    found = builder.values.get(node.all_input_nodes[0]) if node.all_input_nodes else None
    if clamp is not None and isinstance(found, Pieces):
        low, high = found.clamp
        builder.values[node] = Pieces(found.values, found.axis, (max(low, clamp[0]), min(high, clamp[1])))
        return True
    if clamp is not None:
        builder.values[node] = builder.value(node.all_input_nodes[0]).clamped(*clamp)
        return True
    if isinstance(module, nn.PReLU) and module.weight.numel() > 1:
        builder.values[node] = _slopes(builder, node, module.weight.detach().cpu().double().numpy())
        return True
    if is_function(builder.model, node):
        builder.values[node] = function_of(builder, node, node.all_input_nodes[0])
        return True
    return False


def _slopes(builder: Builder, node: fx.Node, slopes: Doubles) -> Value:
    """PReLU with a slope per channel is no one table: max(x, 0) + slope min(x, 0), two integers to be added."""
    value = settled(builder, node, builder.value(node.all_input_nodes[0]))
    above, below = (finely(builder, node, value.clamped(*limits)) for limits in ((0.0, math.inf), (-math.inf, 0.0)))
    along = slopes.reshape(-1, *[1] * (len(builder.shape(value)) - 1))
    return replace(above, terms=above.terms + below.affine(along, 0.0).terms)


def function_of(builder: Builder, node: fx.Node, source: fx.Node) -> Value:
    """What the nodes between compute from single values of `source`, pending."""
    return builder.value(source).through(pointwise_function(builder.model, node, source))


def _clamp(node: fx.Node, module: nn.Module | None) -> tuple[float, float] | None:
    if module is not None:
        limits = CLAMPS.get(type(module))
        return None if limits is None else limits(module)
    if node.op != "call_function" or node.target not in CLAMP_FUNCTIONS:
        return None
    if node.target in RELU_FUNCTIONS:
        return (0.0, math.inf)
    if node.target is functional.relu6:
        return (0.0, 6.0)
    given = dict(zip(("input", "min", "max"), node.args, strict=False)) | dict(node.kwargs)
    low, high = given.get("min"), given.get("max")
    return (-math.inf if low is None else float(low), math.inf if high is None else float(high))  # type: ignore[arg-type]
