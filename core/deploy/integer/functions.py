"""Elementwise functions, which stay pending: clamps as limits, everything else as the float64 function itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from core.deploy.integer.builder import Builder
from core.deploy.integer.values import Doubles, Function, Pieces, Value

CLAMPS: dict[type[nn.Module], Callable[[Any], tuple[float, float]]] = {
    nn.ReLU: lambda module: (0.0, math.inf),
    nn.ReLU6: lambda module: (0.0, 6.0),
    nn.Hardtanh: lambda module: (float(module.min_val), float(module.max_val)),
}
ELEMENTWISE_MODULES = (
    nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.Threshold, nn.Softsign, nn.Mish, nn.Sigmoid, nn.Hardsigmoid, nn.Tanh,
    nn.SiLU, nn.Hardswish, nn.GELU, nn.Softplus,
)  # fmt: skip
ELEMENTWISE_FUNCTIONS: frozenset[Callable[..., Any]] = frozenset(
    {
        torch.sigmoid, torch.tanh, functional.silu, functional.hardswish, functional.gelu, functional.leaky_relu,
        torch.abs, torch.exp, torch.erf, torch.neg, torch.sign, torch.floor, torch.ceil,
    }
)  # fmt: skip
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
    function = _function(node, module)
    if function is None:
        return False
    builder.values[node] = builder.value(node.all_input_nodes[0]).through(function)
    return True


def _clamp(node: fx.Node, module: nn.Module | None) -> tuple[float, float] | None:
    if module is not None:
        limits = CLAMPS.get(type(module))
        return None if limits is None else limits(module)
    if node.target in RELU_FUNCTIONS:
        return (0.0, math.inf)
    if node.target is functional.relu6:
        return (0.0, 6.0)
    if node.target is torch.clamp:
        given = dict(zip(("input", "min", "max"), node.args, strict=False)) | dict(node.kwargs)
        low, high = given.get("min"), given.get("max")
        return (-math.inf if low is None else float(low), math.inf if high is None else float(high))  # type: ignore[arg-type]
    return None


def _function(node: fx.Node, module: nn.Module | None) -> Function | None:
    if isinstance(module, ELEMENTWISE_MODULES) or (isinstance(module, nn.PReLU) and module.weight.numel() == 1):
        in_double = copy.deepcopy(module).double() if isinstance(module, nn.PReLU) else module
        return _of_torch(in_double)
    if module is None and node.op == "call_function" and node.target in ELEMENTWISE_FUNCTIONS:
        target: Any = node.target
        rest, named = node.args[1:], dict(node.kwargs)
        return _of_torch(lambda x: target(x, *rest, **named))
    return None


def _of_torch(call: Callable[[torch.Tensor], torch.Tensor]) -> Function:
    def function(x: Doubles) -> Doubles:
        with torch.no_grad():
            result: Doubles = call(torch.from_numpy(np.ascontiguousarray(x))).numpy()
        return result

    return function


def product_of_same(first: Value, second: Value) -> Value | None:
    """x * f(x), as SiLU is often written: a function of the same terms; None where the terms differ."""
    if [term.tensor for term in first.terms] != [term.tensor for term in second.terms]:
        return None
    if not np.array_equal(first.offset, second.offset):
        return None
    return Value(first.terms, first.offset, (lambda x: first.apply(x) * second.apply(x),))
