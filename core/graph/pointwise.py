"""Functions of single values: what an activation function, or arithmetic that makes one up, computes from one tensor.

x * sigmoid(x), or x * (1 + erf(x / 1.4)) / 2, is one function of x however many nodes it is written in. A product whose
operands come from different tensors is not: it is a product of two activations (`core.graph.vocabulary`).
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional

from core.graph.vocabulary import PRODUCT_FUNCTIONS, Function, called_module

Doubles = NDArray[np.float64]
CLAMP_MODULES = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
CLAMP_FUNCTIONS: frozenset[Function] = frozenset({torch.relu, functional.relu, functional.relu6, torch.clamp})
FUNCTION_MODULES = (
    nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.Threshold, nn.Softsign, nn.Mish, nn.Sigmoid, nn.Hardsigmoid, nn.Tanh,
    nn.SiLU, nn.Hardswish, nn.GELU, nn.Softplus,
)  # fmt: skip
FUNCTIONS: frozenset[Function] = frozenset(
    {
        torch.sigmoid, torch.tanh, functional.silu, functional.hardswish, functional.gelu, functional.leaky_relu,
        functional.hardsigmoid, functional.elu, functional.softplus, functional.mish, torch.abs, torch.exp, torch.erf,
        torch.neg, torch.sign, torch.floor, torch.ceil, torch.round, torch.sqrt, torch.log, torch.reciprocal,
        torch.sin, torch.cos,
    }
)  # fmt: skip
_ARITHMETIC: frozenset[Function] = frozenset(
    {
        torch.add, operator.add, operator.iadd, torch.sub, operator.sub, torch.div, operator.truediv, torch.pow,
        operator.pow,
    }
)  # fmt: skip
_OF_TENSORS: frozenset[Function] = PRODUCT_FUNCTIONS | {
    torch.div, operator.truediv, torch.pow, operator.pow, torch.maximum, torch.minimum,
}  # fmt: skip


def is_clamp(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node only limits values."""
    return isinstance(called_module(graph_module, node), CLAMP_MODULES) or (
        node.op == "call_function" and node.target in CLAMP_FUNCTIONS
    )


def is_scalar_arithmetic(node: fx.Node) -> bool:
    """Whether a tensor and a number are added, subtracted, multiplied, divided or raised to a power."""
    if node.op != "call_function" or node.target not in _ARITHMETIC | PRODUCT_FUNCTIONS:
        return False
    return len(node.all_input_nodes) == 1 and any(isinstance(each, int | float) for each in node.args[:2])


def is_function(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node is an activation function or a mathematical one, of its only tensor."""
    module = called_module(graph_module, node)
    if module is not None:
        return isinstance(module, FUNCTION_MODULES) or (isinstance(module, nn.PReLU) and module.weight.numel() == 1)
    return node.op == "call_function" and node.target in FUNCTIONS


def pointwise_source(graph_module: fx.GraphModule, node: fx.Node, ends: Collection[fx.Node] = ()) -> fx.Node:
    """The tensor whose single values decide those of `node`: the node itself where it is more than that.

    `ends`: tensors that are on a grid, where the search stops.
    """
    if node in ends or not _is_pointwise(graph_module, node):
        return node
    sources = {pointwise_source(graph_module, each, ends) for each in node.all_input_nodes}
    return sources.pop() if len(sources) == 1 else node


def _is_pointwise(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if is_clamp(graph_module, node) or is_function(graph_module, node) or is_scalar_arithmetic(node):
        return len(node.all_input_nodes) == 1
    of_tensors = node.op == "call_function" and node.target in _OF_TENSORS
    return of_tensors and bool(node.all_input_nodes) and all(each.op != "get_attr" for each in node.all_input_nodes)


def pointwise_function(graph_module: fx.GraphModule, node: fx.Node, source: fx.Node) -> Callable[[Doubles], Doubles]:
    """What `node` computes from `source`, in float64."""
    modules: dict[fx.Node, nn.Module] = {}

    def value(of: fx.Node, known: dict[fx.Node, Tensor]) -> Tensor:
        if of not in known:
            args: Any = fx.map_arg(of.args, lambda inner: value(inner, known))
            kwargs: Any = fx.map_arg(of.kwargs, lambda inner: value(inner, known))
            module = called_module(graph_module, of)
            if module is not None:
                called: Any = modules.setdefault(of, copy.deepcopy(module).double())
            else:
                called = of.target
            known[of] = called(*args, **kwargs)
        return known[of]

    def function(x: Doubles) -> Doubles:
        with torch.no_grad():
            result: Doubles = value(node, {source: torch.from_numpy(np.ascontiguousarray(x, np.float64))}).numpy()
        return np.nan_to_num(result)  # the logarithm of what never occurs

    return function
