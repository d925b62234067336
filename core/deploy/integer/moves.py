"""What only orders, selects or pads values: the same move for every tensor that a value is made of."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.program import Move, MoveKind
from core.deploy.integer.sites import finely, joined
from core.deploy.integer.summing import next_grid, settled
from core.deploy.integer.values import UNBOUNDED, Pieces, Value
from core.graph.vocabulary import is_move, pad_value

_QDQ = "use the ONNX QDQ file for this network"
Moved = tuple[MoveKind, list[int], list[int]]  # kind, its numbers, the shape behind it
_PLACES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge"}
SAME_MODULES = (nn.Identity, nn.Dropout, nn.Dropout2d)


def build_move(builder: Builder, node: fx.Node, module: nn.Module | None) -> bool:
    """Whether the node is a move; its value is then noted."""
    if isinstance(module, SAME_MODULES):
        builder.values[node] = builder.values[node.all_input_nodes[0]]
        return True
    if is_move(builder.model, node) and isinstance(pieces := builder.values.get(node.all_input_nodes[0]), Pieces):
        # what only layers read behind a move: rounding before it or behind it is the same
        builder.values[node.all_input_nodes[0]] = joined(builder, node, pieces, next_grid(builder, node))
    if _pads_otherwise(node, module):
        found = _surrounded(builder, node, builder.value(node.all_input_nodes[0]), module)
        if found is not None:
            builder.values[node] = found
        return found is not None
    move = _move(builder, node, module)
    if move is None:
        return False
    kind, numbers, shape = move
    value = builder.value(node.all_input_nodes[0])
    if kind == "pad":
        value = _paddable(builder, node, value)
    value = builder.moved(node, value, kind, numbers, shape)
    noted = node.meta.get("shape")
    if noted is not None and tuple(noted[1:]) != tuple(shape) and math.prod(noted[1:]) == math.prod(shape):
        value = builder.moved(node, value, "reshape", noted[1:], noted[1:])  # a single position has no dimension
    builder.values[node] = value
    return True


def _pads_otherwise(node: fx.Node, module: nn.Module | None) -> bool:
    if isinstance(module, nn.ConstantPad2d):
        return module.value != 0
    called = node.op == "call_function" and node.target is functional.pad
    return isinstance(module, nn.ReflectionPad2d | nn.ReplicationPad2d) or (called and pad_value(node) != 0)


def _paddable(builder: Builder, node: fx.Node, value: Value) -> Value:
    """Zeros stay zeros only on a grid that has one, and through functions that keep it."""
    if value.functions and float(value.apply(np.zeros(1))[0]) != 0:
        return settled(builder, node, value)
    zero_is_kept = value.clamp[0] <= 0 <= value.clamp[1]
    if len(value.terms) == 1 and not value.offset.any() and zero_is_kept:
        return value
    if not value.functions:
        return finely(builder, node, value)
    plain = finely(builder, node, replace(value, functions=(), clamp=UNBOUNDED))
    return replace(plain, functions=value.functions, clamp=value.clamp)


def _surrounded(builder: Builder, node: fx.Node, value: Value, module: nn.Module | None) -> Value | None:
    """Padding with something else than zeros: a number, minus infinity before a maximum, or the image's own values."""
    amounts, mode, filling = _padding(node, module)
    shape = list(builder.shape(value))
    if mode in _PLACES:
        pairs = [(0, 0)] * (len(shape) - len(amounts) // 2)
        pairs += [(amounts[at], amounts[at + 1]) for at in range(len(amounts) - 2, -1, -2)]
        for axis, (before, behind) in enumerate(pairs):
            places = np.pad(np.arange(shape[axis]), (before, behind), mode=_PLACES[mode]).tolist()
            if before or behind:
                shape[axis] = len(places)
                value = builder.moved(node, value, "select", (axis, *places), shape)
        return value
    if mode != "constant":
        return None
    value = finely(builder, node, settled(builder, node, value))
    term, facts = value.terms[0], builder.facts(value.terms[0].tensor)
    code = facts.low if math.isinf(filling) else round(filling / float(term.scale.reshape(-1)[0]))
    _, numbers, extents = _pad(shape, amounts)
    operation = Move((term.tensor,), builder.name(node, "padded"), node.name, "pad", tuple(numbers), code)
    tensor = builder.add(operation, extents, min(facts.low, code), max(facts.high, code))
    return replace(value, terms=(replace(term, tensor=tensor),))


def _padding(node: fx.Node, module: nn.Module | None) -> tuple[list[int], str, float]:
    """Amounts in torch's order, from the last dimension, the mode, and the number of the mode `constant`."""
    if module is not None:
        amounts = [int(each) for each in cast(Any, module.padding)]
        modes = {nn.ReflectionPad2d: "reflect", nn.ReplicationPad2d: "replicate"}
        return amounts, modes.get(type(module), "constant"), float(cast(Any, getattr(module, "value", 0.0)))
    given = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | dict(node.kwargs)
    amounts = [int(each) for each in cast(Any, given["pad"])]
    return amounts, str(given.get("mode", "constant")), float(cast(Any, given.get("value")) or 0.0)


def _move(builder: Builder, node: fx.Node, module: nn.Module | None) -> Moved | None:
    found = builder.values.get(node.all_input_nodes[0]) if node.all_input_nodes else None
    if found is None or isinstance(found, Pieces):
        return None
    shape = list(builder.shape(found))
    target = _function(node)
    if isinstance(module, nn.PixelShuffle):
        factor = int(module.upscale_factor)
        return "pixel-shuffle", [factor], [shape[0] // factor**2, shape[1] * factor, shape[2] * factor]
    if isinstance(module, nn.ConstantPad2d):
        return _pad(shape, list(cast(Any, module.padding)))
    if target in _FUNCTIONS:
        return _FUNCTIONS[target](builder, node, shape)
    return _reshape(node, module, target, shape)


def _function(node: fx.Node) -> Any:
    """x.permute(...) is torch.permute(x, ...)."""
    if node.op == "call_method":
        return torch.reshape if node.target == "view" else getattr(torch, str(node.target), None)
    return node.target if node.op == "call_function" else None


def _padded(builder: Builder, node: fx.Node, shape: list[int]) -> Moved:
    return _pad(shape, [int(each) for each in cast(Any, node.args[1])])


def _permuted(builder: Builder, node: fx.Node, shape: list[int]) -> Moved:
    dims: Any = node.args[1] if isinstance(node.args[1], tuple | list) else node.args[1:]
    order = [int(each) % (len(shape) + 1) - 1 for each in dims]
    if order[0] != -1:
        raise no_integer_form(node, "it moves the batch", _QDQ)
    return "permute", order[1:], [shape[each] for each in order[1:]]


def _flipped(builder: Builder, node: fx.Node, shape: list[int]) -> Moved:
    return "flip", [int(each) % (len(shape) + 1) - 1 for each in cast(Any, node.args[1])], shape


def _pad(shape: list[int], pads: list[int]) -> Moved:
    """torch counts pairs from the last dimension; ours start with the first."""
    pairs = [(pads[2 * each], pads[2 * each + 1]) for each in range(len(pads) // 2)][::-1]
    pairs = [(0, 0)] * (len(shape) - len(pairs)) + pairs[-len(shape) :]
    extents = [extent + sum(pair) for extent, pair in zip(shape, pairs, strict=True)]
    return "pad", [amount for pair in pairs for amount in pair], extents


def _slice(builder: Builder, node: fx.Node, shape: list[int]) -> Moved:
    index: Any = node.args[1]
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) + 1 - (len(parts) - 1))
    parts += [slice(None)] * (len(shape) + 1 - len(parts))
    parts = [slice(part, part + 1 or None) if isinstance(part, int) else part for part in parts]
    if not all(isinstance(part, slice) for part in parts) or parts[0] != slice(None):
        raise no_integer_form(node, "it selects images of the batch, or by a tensor", _QDQ)
    cuts = [part.indices(extent) for part, extent in zip(parts[1:], shape, strict=True)]
    return "slice", [number for cut in cuts for number in cut], [len(range(*cut)) for cut in cuts]


def _select(builder: Builder, node: fx.Node, shape: list[int]) -> Moved:
    axis = int(cast(Any, node.args[1])) % (len(shape) + 1) - 1
    indices = operator.attrgetter(str(cast(fx.Node, node.args[2]).target))(builder.model).tolist()
    shape[axis] = len(indices)
    return "select", [axis, *indices], shape


def _reshape(node: fx.Node, module: nn.Module | None, target: Any, shape: list[int]) -> Moved | None:
    """Anything that keeps the order of values; its result's shape was noted when the network was read."""
    known = isinstance(module, nn.Flatten | nn.Unflatten) or target in (
        torch.flatten,
        torch.reshape,
        torch.squeeze,
        torch.unsqueeze,
    )
    if not known:
        return None
    noted = node.meta.get("shape")
    if noted is None:
        raise no_integer_form(node, "its shape is not known", _QDQ)
    numbers = [int(each) for each in noted[1:]]
    if np.prod(numbers) != np.prod(shape):
        raise no_integer_form(node, "it mixes the batch with other dimensions", _QDQ)
    return "reshape", numbers, numbers


_FUNCTIONS: dict[Any, Callable[[Builder, fx.Node, list[int]], Moved]] = {
    functional.pad: _padded,
    operator.getitem: _slice,
    torch.permute: _permuted,
    torch.flip: _flipped,
    torch.index_select: _select,
}
