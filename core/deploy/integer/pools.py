"""Pools, means and resizing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.program import Pool, Window
from core.deploy.integer.resampling import averages, in_fixed_point, interpolation, resampled
from core.deploy.integer.sites import finely, one_positive_term
from core.deploy.integer.summing import per_channel, settled, summable
from core.deploy.integer.values import UNBOUNDED, Term, Value

_QDQ = "use the ONNX QDQ file for this network"
_REDUCTIONS = (torch.mean, torch.sum, torch.amax, torch.amin)
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
    return _reduced if node.op == "call_function" and node.target in _REDUCTIONS else None


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


def _max_pool(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    shape = builder.shape(builder.value(node.all_input_nodes[0]))
    window = _window(node, module, _setting(node, module, 4, "dilation", 1))
    if _setting(node, module, 5, "ceil_mode", False):
        window = _over_the_edge(shape, window)
    return _maximum(builder, node, builder.value(node.all_input_nodes[0]), window)


def _over_the_edge(shape: tuple[int, ...], window: Window) -> Window:
    """Padding below and at the right, with which as many windows fit as torch has with ceil_mode."""
    top, left, _, _ = window.padding
    ends = []
    for size, kernel, stride, before, dilation in zip(
        shape[1:], window.kernel, window.stride, (top, left), window.dilation, strict=True
    ):
        reach = (kernel - 1) * dilation + 1
        count = -(-(size + 2 * before - reach) // stride) + 1
        if (count - 1) * stride >= size + before:  # no window starts in the padding behind
            count -= 1
        ends.append(max((count - 1) * stride + reach - size - before, 0))
    return replace(window, padding=(top, left, ends[0], ends[1]))


def _maximum(builder: Builder, node: fx.Node, value: Value, window: Window) -> Value:
    if value.functions:  # a clamp keeps order, other functions need not
        value = settled(builder, node, value)
    if not per_channel(value):
        value = replace(finely(builder, node, replace(value, clamp=UNBOUNDED)), clamp=value.clamp)
    value = one_positive_term(builder, node, value)
    term = value.terms[0]
    facts = builder.facts(term.tensor)
    shape = (facts.shape[0], *_extents(facts.shape, window))
    operation = Pool((term.tensor,), builder.name(node), node.name, "max", window, term.zero)
    tensor = builder.add(operation, shape, facts.low, facts.high)
    return replace(value, terms=(replace(term, tensor=tensor),))


def _adaptive_max_pool(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    """Windows of different sizes repeat their last values until all are as long as the longest."""
    value = builder.value(node.all_input_nodes[0])
    shape, longest = builder.shape(value), []
    for axis, windows in enumerate(_adaptive_windows(builder, node, module, value), 1):
        length = max(len(window) for window in windows)
        places = [window[min(at, len(window) - 1)] for window in windows for at in range(length)]
        longest.append(length)
        if places != list(range(shape[axis])):
            wanted = [len(places) if at == axis else extent for at, extent in enumerate(builder.shape(value))]
            value = builder.moved(node, value, "select", (axis, *places), wanted)
    kernel = (longest[0], longest[1])
    return _maximum(builder, node, value, Window(kernel, kernel))


def _adaptive_windows(
    builder: Builder, node: fx.Node, module: nn.Module | None, value: Value
) -> tuple[list[range], list[range]]:
    """For height and width, the places of each window: from floor(o in / out) to ceil((o + 1) in / out)."""
    wanted = _setting(node, module, 1, "output_size", 1)
    sizes = [wanted, wanted] if wanted is None or isinstance(wanted, int) else list(wanted)
    rows, columns = (
        [range(at * extent // to, -(-(at + 1) * extent // to)) for at in range(to)]
        for extent, to in (
            (extent, extent if size is None else int(size))
            for extent, size in zip(builder.shape(value)[1:], sizes, strict=True)
        )
    )
    return rows, columns


def _average_pool(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    window, value = _window(node, module), builder.value(node.all_input_nodes[0])
    own_divisor = _setting(node, module, 6, "divisor_override", None)
    ceil = bool(_setting(node, module, 4, "ceil_mode", False))
    counts_padding = bool(_setting(node, module, 5, "count_include_pad", True))
    whole = _over_the_edge(builder.shape(value), window) if ceil else window
    if own_divisor or (
        _extents(builder.shape(value), window) == _extents(builder.shape(value), whole)
        and (counts_padding or not any(window.padding))
    ):
        return averaged(builder, node, value, whole if own_divisor else window, own_divisor)
    return _averaged_apart(builder, node, value, window, whole, counts_padding=counts_padding)


def _averaged_apart(
    builder: Builder, node: fx.Node, value: Value, window: Window, whole: Window, *, counts_padding: bool
) -> Value:
    """Windows that hold different numbers of values: each row and each column has a weight of its own.

    `whole` reaches over the edge where ceil_mode asks for it; only `window`'s padding counts as values.
    """
    shape, along = builder.shape(value), {}
    for axis, output in enumerate(_extents(shape, whole)):
        size, before, kernel = shape[axis + 1], window.padding[axis], window.kernel[axis]
        start = (np.arange(output) * window.stride[axis] - before)[:, None]
        places = np.arange(size)
        inside = (places >= start) & (places < start + kernel)
        edge = (-before, size + before) if counts_padding else (0, size)
        counts = np.minimum(start + kernel, edge[1]) - np.maximum(start, edge[0])
        along[axis + 1] = averages(counts.reshape(-1).tolist(), inside)
    return resampled(builder, node, value, along, padded=counts_padding)


def _adaptive_average_pool(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    value, along, kernel = builder.value(node.all_input_nodes[0]), {}, []
    for axis, windows in enumerate(_adaptive_windows(builder, node, module, value), 1):
        counts = [len(window) for window in windows]
        inside = np.array([[place in window for place in range(builder.shape(value)[axis])] for window in windows])
        along[axis] = averages(counts, inside)
        kernel.append(max(counts))
    tiles = all(
        axis_kernel * len(along[axis][0]) == builder.shape(value)[axis] for axis, axis_kernel in enumerate(kernel, 1)
    )
    if tiles:
        return averaged(builder, node, value, Window((kernel[0], kernel[1]), (kernel[0], kernel[1])))
    return resampled(builder, node, value, along)


def averaged(builder: Builder, node: fx.Node, value: Value, window: Window, divisor: int | None = None) -> Value:
    """The sum over windows; its scale is divided by their size, or by another divisor."""
    size = math.prod(window.kernel)
    value = summable(builder, node, value, size, padded=any(window.padding) or divisor is not None)
    term = value.terms[0]
    facts = builder.facts(term.tensor)
    reach = size * max(abs(facts.low - term.zero), abs(facts.high - term.zero))
    shape = (facts.shape[0], *_extents(facts.shape, window))
    tensor = builder.add(
        Pool((term.tensor,), builder.name(node), node.name, "sum", window, term.zero), shape, -reach, reach
    )
    return Value((Term(tensor, term.scale / (divisor or size)),), value.offset)


def _reduced(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    """Over any dimensions but the batch: they are moved last and pooled as one row."""
    value = builder.value(node.all_input_nodes[0])
    shape = builder.shape(value)
    given = _setting(node, None, 1, "dim", None)
    dims = [given] if isinstance(given, int) else list(given or [])
    axes = sorted(dim - 1 if dim > 0 else len(shape) + dim for dim in dims)
    if not axes or axes[0] < 0:
        raise no_integer_form(node, "it mixes the images of a batch", _QDQ)
    keep = bool(_setting(node, None, 2, "keepdim", False))
    rest = [axis for axis in range(len(shape)) if axis not in axes]
    order = (*rest, *axes)
    size = math.prod(shape[axis] for axis in axes)
    kept = math.prod(shape[axis] for axis in rest)
    moved = builder.moved(node, value, "permute", order, [shape[axis] for axis in order])
    rows = builder.moved(node, moved, "reshape", (kept, 1, size), (kept, 1, size))
    pooled = _row(builder, node, rows, Window((1, size), (1, size)))
    final = [1 if axis in axes else extent for axis, extent in enumerate(shape) if keep or axis not in axes]
    return builder.moved(node, pooled, "reshape", final, final)


def _row(builder: Builder, node: fx.Node, rows: Value, window: Window) -> Value:
    if node.target is torch.amax:
        return _maximum(builder, node, rows, window)
    if node.target is torch.amin:  # -max(-x)
        negated = settled(builder, node, rows).affine(-1.0, 0.0)
        return _maximum(builder, node, negated, window).affine(-1.0, 0.0)
    return averaged(builder, node, rows, window, 1 if node.target is torch.sum else None)


def _resize(builder: Builder, node: fx.Node, module: nn.Module | None) -> Value:
    """Nearest neighbour selects values, whole factors repeat them; linear modes interpolate with whole-number weights.

    Positions as torch computes them: https://pytorch.org/docs/stable/generated/torch.nn.functional.interpolate.html
    """
    value = builder.value(node.all_input_nodes[0])
    shape = builder.shape(value)
    mode = str(_setting(node, module, 3, "mode", "nearest"))
    output, ratios = _target(node, module, shape)
    if mode == "bilinear":
        return _interpolated(builder, node, module, value, output, ratios)
    if mode not in ("nearest", "nearest-exact"):
        raise no_integer_form(node, f"it resizes by {mode} interpolation", "resize by nearest neighbour or bilinear")
    factors = [to // extent for to, extent in zip(output, shape[1:], strict=True)]
    if all(to == extent * factor for to, extent, factor in zip(output, shape[1:], factors, strict=True)):
        return builder.moved(node, value, "repeat", (1, *factors), (shape[0], *output))
    half = 0.5 if mode == "nearest-exact" else 0.0
    for axis, (to, ratio, extent) in enumerate(zip(output, ratios, shape[1:], strict=True), 1):
        # float32, as torch computes them, so that ties fall alike
        source = (np.arange(to, dtype=np.float32) + np.float32(half)) * np.float32(ratio)
        places = np.minimum(np.floor(source).astype(np.int64), extent - 1).tolist()
        wanted = [to if at == axis else each for at, each in enumerate(builder.shape(value))]
        value = builder.moved(node, value, "select", (axis, *places), wanted)
    return value


def _target(node: fx.Node, module: nn.Module | None, shape: tuple[int, ...]) -> tuple[list[int], list[float]]:
    """Output height and width, and input steps per output step: the given factors' where there are some."""
    size, factor = _setting(node, module, 1, "size", None), _setting(node, module, 2, "scale_factor", None)
    if size is not None:
        output = list(_pair(size))
        return output, [extent / to for extent, to in zip(shape[1:], output, strict=True)]
    factors = [float(factor)] * 2 if isinstance(factor, int | float) else [float(each) for each in factor]
    output = [math.floor(extent * each) for extent, each in zip(shape[1:], factors, strict=True)]
    if _setting(node, module, 5, "recompute_scale_factor", None):
        return output, [extent / to for extent, to in zip(shape[1:], output, strict=True)]
    return output, [1 / each for each in factors]


def _interpolated(
    builder: Builder, node: fx.Node, module: nn.Module | None, value: Value, output: list[int], ratios: list[float]
) -> Value:
    corners = bool(_setting(node, module, 4, "align_corners", False))
    along = {
        axis: in_fixed_point(interpolation(extent, to, ratio=ratio, align_corners=corners))
        for axis, (extent, to, ratio) in enumerate(zip(builder.shape(value)[1:], output, ratios, strict=True), 1)
    }
    return resampled(builder, node, value, along)
