"""Pools, means and resizing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from core.deploy.integer.bounds import LARGEST
from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.program import Pool, Window
from core.deploy.integer.sites import FINEST, finely, materialised, one_positive_term
from core.deploy.integer.values import UNBOUNDED, Term, Value

FINER = 64
_QDQ = "use the ONNX QDQ file for this network"
_NAMES = ("input", "kernel_size", "stride", "padding")


def build_pool(builder: Builder, node: fx.Node, module: nn.Module | None) -> bool:
    """Whether the node pools, averages or resizes."""
    kind = _kind(node, module)
    if kind is None:
        return False
    builder.values[node] = kind(builder, node, module)
    return True


def _kind(node: fx.Node, module: nn.Module | None) -> Callable[..., Value] | None:
    for types, functions, build in (
        ((nn.MaxPool2d,), (functional.max_pool2d,), _max_pool),
        ((nn.AdaptiveMaxPool2d,), (), _adaptive_max_pool),
        ((nn.AvgPool2d,), (functional.avg_pool2d,), _average_pool),
        ((nn.AdaptiveAvgPool2d,), (functional.adaptive_avg_pool2d,), _adaptive_average_pool),
        ((nn.Upsample,), (functional.interpolate,), _resize),
    ):
        if isinstance(module, types) or (node.op == "call_function" and node.target in functions):
            return build
    return _mean if node.op == "call_function" and node.target is torch.mean else None


def _setting(node: fx.Node, module: nn.Module | None, position: int, name: str, default: Any) -> Any:
    if module is not None:
        return getattr(module, name, default)
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _window(node: fx.Node, module: nn.Module | None, dilation: Any = 1) -> Window:
    kernel, stride, padding = (_setting(node, module, at, name, None) for at, name in enumerate(_NAMES[1:], 1))
    top, left = _pair(padding or 0)
    stride = kernel if stride in (None, ()) else stride
    return Window(_pair(kernel), _pair(stride), (top, left, top, left), _pair(dilation))


def _extents(shape: tuple[int, ...], window: Window) -> tuple[int, int]:
    top, left, bottom, right = window.padding
    rows, columns = (
        (size + padding - (kernel - 1) * dilation - 1) // stride + 1
        for size, padding, kernel, dilation, stride in zip(
            shape[1:], (top + bottom, left + right), window.kernel, window.dilation, window.stride, strict=True
        )
    )
    return rows, columns


def _next_step(builder: Builder, node: fx.Node) -> float:
    """The step of the first grid behind a node, which says how fine a value has to be kept on the way there."""
    waiting = list(node.users)
    while waiting:
        each = waiting.pop(0)
        if each in builder.sites:
            return builder.sites[each].grid.scale
        waiting.extend(each.users)
    raise no_integer_form(node, "no grid follows", "quantize the layer that reads it")


def _max_pool(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    if _setting(node, module, 5, "ceil_mode", False):
        raise no_integer_form(node, "its windows reach over the edge (ceil_mode)", _QDQ)
    return _maximum(builder, node, _window(node, module, _setting(node, module, 4, "dilation", 1)))


def _maximum(builder: Builder, node: fx.Node, window: Window) -> Value:
    value = builder.value(node.all_input_nodes[0])
    if value.functions:  # a clamp keeps order, other functions need not
        value = materialised(builder, node, value, _next_step(builder, node) / FINER)
    value = one_positive_term(builder, node, value)
    term = value.terms[0]
    facts = builder.facts(term.tensor)
    shape = (facts.shape[0], *_extents(facts.shape, window))
    operation = Pool((term.tensor,), builder.name(node), node.name, "max", window, term.zero)
    tensor = builder.add(operation, shape, facts.low, facts.high)
    return replace(value, terms=(replace(term, tensor=tensor),))


def _adaptive_max_pool(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    return _maximum(builder, node, _even_window(builder, node, module))


def _even_window(builder: Builder, node: fx.Node, module: nn.Module | None) -> Window:
    shape = builder.shape(builder.value(node.all_input_nodes[0]))
    wanted = _setting(node, module, 1, "output_size", 1)
    sizes = [wanted, wanted] if wanted is None or isinstance(wanted, int) else list(wanted)
    targets = [extent if size is None else int(size) for size, extent in zip(sizes, shape[1:], strict=True)]
    if any(extent % target for target, extent in zip(targets, shape[1:], strict=True)):
        raise no_integer_form(node, "its windows differ in size", "use an input size that the output size divides")
    kernel = (shape[1] // targets[0], shape[2] // targets[1])
    return Window(kernel, kernel)


def _average_pool(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    window = _window(node, module)
    counts_padding = _setting(node, module, 5, "count_include_pad", True)
    own_divisor = _setting(node, module, 6, "divisor_override", None)
    if _setting(node, module, 4, "ceil_mode", False) or own_divisor or (any(window.padding) and not counts_padding):
        raise no_integer_form(node, "its windows hold different numbers of values", _QDQ)
    return averaged(builder, node, builder.value(node.all_input_nodes[0]), window)


def _adaptive_average_pool(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    return averaged(builder, node, builder.value(node.all_input_nodes[0]), _even_window(builder, node, module))


def averaged(builder: Builder, node: fx.Node, value: Value, window: Window) -> Value:
    """The sum over windows; its scale is divided by their size."""
    size = math.prod(window.kernel)
    value = _summable(builder, node, value, window)
    term = value.terms[0]
    facts = builder.facts(term.tensor)
    reach = size * max(abs(facts.low - term.zero), abs(facts.high - term.zero))
    shape = (facts.shape[0], *_extents(facts.shape, window))
    tensor = builder.add(
        Pool((term.tensor,), builder.name(node), node.name, "sum", window, term.zero), shape, -reach, reach
    )
    return Value((Term(tensor, term.scale / size),), value.offset)


def _summable(builder: Builder, node: fx.Node, value: Value, window: Window) -> Value:
    """One tensor with nothing pending whose sums fit 32 bits; padding is worth zero."""
    size = math.prod(window.kernel)
    if value.functions:
        value = materialised(builder, node, value, _next_step(builder, node) / FINER)
    term = value.terms[0]
    facts = builder.facts(term.tensor)
    fits = size * max(abs(facts.low - term.zero), abs(facts.high - term.zero)) <= LARGEST
    padded = any(window.padding) and bool(value.offset.any())
    if fits and not padded and len(value.terms) == 1 and value.clamp == UNBOUNDED:
        return value
    return finely(builder, node, value, min(LARGEST // size, FINEST))


def _mean(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    """Over any dimensions but the batch: they are moved last and pooled as one row."""
    value = builder.value(node.all_input_nodes[0])
    shape = builder.shape(value)
    given = _setting(node, None, 1, "dim", None)
    dims = [given] if isinstance(given, int) else list(given or [])
    axes = sorted(dim - 1 if dim > 0 else len(shape) + dim for dim in dims)
    if not axes or axes[0] < 0:
        raise no_integer_form(node, "it averages over the whole batch", _QDQ)
    keep = bool(_setting(node, None, 2, "keepdim", False))
    rest = [axis for axis in range(len(shape)) if axis not in axes]
    order = (*rest, *axes)
    size = math.prod(shape[axis] for axis in axes)
    kept = math.prod(shape[axis] for axis in rest)
    moved = builder.moved(node, value, "permute", order, [shape[axis] for axis in order])
    rows = builder.moved(node, moved, "reshape", (kept, 1, size), (kept, 1, size))
    mean = averaged(builder, node, rows, Window((1, size), (1, size)))
    final = [1 if axis in axes else extent for axis, extent in enumerate(shape) if keep or axis not in axes]
    return builder.moved(node, mean, "reshape", final, final)


def _resize(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    """Nearest neighbour by whole factors repeats values; anything else interpolates and is refused."""
    value = builder.value(node.all_input_nodes[0])
    shape = builder.shape(value)
    size, factor = _setting(node, module, 1, "size", None), _setting(node, module, 2, "scale_factor", None)
    if size is None:
        factors = [float(factor)] * 2 if isinstance(factor, int | float) else [float(each) for each in factor]
    else:
        factors = [target / extent for target, extent in zip(_pair(size), shape[1:], strict=True)]
    mode = str(_setting(node, module, 3, "mode", "nearest"))
    if mode != "nearest" or any(each != int(each) or each < 1 for each in factors):
        raise no_integer_form(
            node, f"it resizes by {mode} interpolation, factors {factors}", "resize by whole factors, nearest neighbour"
        )
    numbers = (1, *(int(each) for each in factors))
    return builder.moved(node, value, "repeat", numbers, [e * f for e, f in zip(shape, numbers, strict=True)])
