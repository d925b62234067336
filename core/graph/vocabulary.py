"""What the nodes of a network's graph mean to quantization: layers, joins, moves, and which tensors cannot be negative.

A *layer* has weights and is quantizable. A *join* computes on tensors of different scales: the sum of two tensors,
concatenation, averaging, to which linear interpolation belongs. A *product* of two activations is a join as well. A
*move* only selects, orders or zero-pads values, so a tensor on a grid stays on that grid.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import fx, nn
from torch.nn import functional

LAYER_TYPES = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
BATCH_NORM_TYPES = (nn.BatchNorm1d, nn.BatchNorm2d)
RELU_TYPES = (nn.ReLU, nn.ReLU6)
AVERAGE_TYPES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
MOVE_TYPES = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout2d, nn.PixelShuffle)
NEVER_NEGATIVE_TYPES = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid, nn.Softmax)
SIGN_KEEPING_TYPES = (
    *MOVE_TYPES, *AVERAGE_TYPES, nn.MaxPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.LocalResponseNorm,
)  # fmt: skip

LayerModule = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
Function = Callable[..., Any]
ADD_FUNCTIONS: frozenset[Function] = frozenset({torch.add, operator.add, operator.iadd})
SUBTRACT_FUNCTIONS: frozenset[Function] = frozenset({torch.sub, operator.sub, operator.isub})
PRODUCT_FUNCTIONS: frozenset[Function] = frozenset({torch.mul, operator.mul, operator.imul})
MATMUL_FUNCTIONS: frozenset[Function] = frozenset({torch.matmul, operator.matmul})
AVERAGE_FUNCTIONS: frozenset[Function] = frozenset({functional.avg_pool2d, functional.adaptive_avg_pool2d, torch.mean})
MOVE_FUNCTIONS: frozenset[Function] = frozenset(
    {torch.flatten, torch.reshape, torch.permute, torch.squeeze, torch.unsqueeze, operator.getitem, torch.index_select}
)
NEVER_NEGATIVE_FUNCTIONS: frozenset[Function] = frozenset(
    {torch.relu, functional.relu, functional.relu6, torch.sigmoid, torch.abs, torch.sqrt, torch.exp, torch.softmax}
)
SIGN_KEEPING_FUNCTIONS: frozenset[Function] = frozenset(
    {
        *MOVE_FUNCTIONS, *AVERAGE_FUNCTIONS, *ADD_FUNCTIONS, *PRODUCT_FUNCTIONS, *MATMUL_FUNCTIONS, torch.div,
        torch.cat, torch.maximum, torch.minimum, torch.amax, torch.amin, torch.sum, functional.interpolate,
        functional.max_pool2d,
    }
)  # fmt: skip


def called_module(graph_module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls; None for other nodes."""
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def called_layer(graph_module: fx.GraphModule, node: fx.Node) -> LayerModule:
    """The layer that a node from `layer_nodes` calls."""
    return cast(LayerModule, called_module(graph_module, node))


def is_layer(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node is a quantizable layer."""
    return isinstance(called_module(graph_module, node), LAYER_TYPES)


def layer_nodes(graph_module: fx.GraphModule) -> Iterator[fx.Node]:
    """The quantizable layers in execution order."""
    return (node for node in graph_module.graph.nodes if is_layer(graph_module, node))


def is_sum_of_tensors(node: fx.Node) -> bool:
    """Whether the node adds or subtracts two computed tensors; adding a constant is not a join."""
    if node.op != "call_function" or node.target not in ADD_FUNCTIONS | SUBTRACT_FUNCTIONS:
        return False
    return _computed_operands(node) == 2


def is_product_of_tensors(node: fx.Node) -> bool:
    """Whether the node multiplies two computed tensors, value by value or as matrices."""
    if node.op != "call_function" or node.target not in PRODUCT_FUNCTIONS | MATMUL_FUNCTIONS:
        return False
    return _computed_operands(node) == 2


def _computed_operands(node: fx.Node) -> int:
    return sum(isinstance(argument, fx.Node) and argument.op != "get_attr" for argument in node.args[:2])


def is_join(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node's output needs a grid of its own: a sum of tensors, a concatenation, an average.

    Products do too, but for those of values that one tensor decides: see `core.graph.pointwise`.
    """
    if is_constant_product(node):  # interpolation is written as two of them, one for each direction
        return not all(is_constant_product(reader) for reader in node.users)
    if node.op == "call_function" and (is_sum_of_tensors(node) or node.target is torch.cat):
        return True
    return is_average(graph_module, node)


def is_average(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node's values are weighted means of its input's: an average pool, a mean, linear interpolation."""
    if node.op == "call_function" and node.target in AVERAGE_FUNCTIONS:
        return True
    module = called_module(graph_module, node)
    return isinstance(module, AVERAGE_TYPES) or is_constant_product(node) or is_linear_resize(graph_module, node)


def is_constant_product(node: fx.Node) -> bool:
    """Whether the node multiplies a tensor by a constant matrix, as the importer writes linear interpolation."""
    constants = [argument for argument in node.args[:2] if isinstance(argument, fx.Node) and argument.op == "get_attr"]
    return node.op == "call_function" and node.target in MATMUL_FUNCTIONS and len(constants) == 1


def is_linear_resize(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node resizes by linear interpolation."""
    module = called_module(graph_module, node)
    if isinstance(module, nn.Upsample):
        return module.mode in ("linear", "bilinear")
    called = node.op == "call_function" and node.target is functional.interpolate
    return called and (node.args[3] if len(node.args) > 3 else node.kwargs.get("mode")) in ("linear", "bilinear")


def is_relu(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node is a ReLU or ReLU6."""
    return isinstance(called_module(graph_module, node), RELU_TYPES) or (
        node.op == "call_function" and node.target in {torch.relu, functional.relu, functional.relu6}
    )


def is_move(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node's values are the values of its one input, perhaps with zeros around them."""
    if node.op == "call_function":
        return node.target in MOVE_FUNCTIONS or (node.target is functional.pad and pad_value(node) == 0)
    module = called_module(graph_module, node)
    return isinstance(module, MOVE_TYPES) or (isinstance(module, nn.ConstantPad2d) and module.value == 0)


def pad_value(node: fx.Node) -> float:
    """The constant that a call of torch.nn.functional.pad writes around its input; NaN where it repeats values."""
    given = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | dict(node.kwargs)
    if given.get("mode", "constant") != "constant":
        return float("nan")
    value = given.get("value")
    return float(value) if isinstance(value, int | float) else 0.0


def cannot_be_negative(graph_module: fx.GraphModule) -> set[fx.Node]:
    """Nodes whose tensors have no value under zero, whatever the input and the weights are."""
    found: set[fx.Node] = set()
    for node in graph_module.graph.nodes:
        if _never_negative(graph_module, node) or (
            _keeps_sign(graph_module, node) and all(source in found for source in node.all_input_nodes)
        ):
            found.add(node)
    return found


def _never_negative(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "get_attr":
        constant = operator.attrgetter(str(node.target))(graph_module)
        return bool((constant >= 0).all())
    if node.op == "call_function":
        return node.target in NEVER_NEGATIVE_FUNCTIONS or (node.target is torch.clamp and _lower_bound(node) >= 0)
    return cannot_be_negative_module(called_module(graph_module, node))


def cannot_be_negative_module(module: nn.Module | None) -> bool:
    """Whether a module's output has no value under zero, whatever it reads."""
    return isinstance(module, NEVER_NEGATIVE_TYPES) or (isinstance(module, nn.Hardtanh) and module.min_val >= 0)


def _lower_bound(node: fx.Node) -> float:
    bound = node.args[1] if len(node.args) > 1 else node.kwargs.get("min")
    return float(bound) if isinstance(bound, int | float) else float("-inf")


def _keeps_sign(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if not node.all_input_nodes:
        return False
    numbers = [argument for argument in node.args[1:2] if isinstance(argument, int | float)]
    if node.op == "call_function":
        pads_up = node.target is functional.pad and not pad_value(node) < 0
        return (node.target in SIGN_KEEPING_FUNCTIONS or pads_up) and all(
            number >= 0 or node.target in MOVE_FUNCTIONS | AVERAGE_FUNCTIONS for number in numbers
        )
    module = called_module(graph_module, node)
    if isinstance(module, nn.ConstantPad2d):
        return float(module.value) >= 0
    return isinstance(module, SIGN_KEEPING_TYPES)
