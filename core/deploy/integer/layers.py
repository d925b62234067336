"""Convolutions and linear layers in integers, batch norm absorbed, with the proof that 32 bits hold their sums.

A layer's value is three parts: products of codes, the sum of its inputs times the lowest level of a weight grid without
a zero, and a bias. Where a requantization rounds once (dyadic), the first two are integers of their own and everything
real is left to it: it adds them in 64 bits, each with a multiplier of its own. Where it multiplies 32 bits (gemmlowp),
the accumulator holds all three, in fractions of input step times weight step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional

from core.deploy.deploy_layers import DeployLayer, ExactScales
from core.deploy.integer.bounds import LARGEST, accumulator_bounds
from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.program import Codes, Integers, Move, Multiply, Window
from core.deploy.integer.values import Doubles, Term, Value
from core.deploy.integer_weight import IntegerWeight
from core.errors import UnsupportedModel

FRACTION_BITS = 24
MINIMUM_OFFSET_BITS = 4


@dataclass(frozen=True)
class _Place:
    """Where a layer stands. The codes x that it reads mean input_scale * (x - zero) + beta; `largest` |x - zero|."""

    node: fx.Node
    module: nn.Module
    groups: int
    tensor: str
    shape: tuple[int, ...]
    zero: int
    input_scale: float
    beta: float
    largest: int


@dataclass(frozen=True)
class _Weight:
    """scale[o] * codes + lowest[o], output channels first; `bits` [O]."""

    codes: Codes
    bits: Integers
    scale: Doubles
    lowest: Doubles


def build_layer(builder: Builder, node: fx.Node, layer: DeployLayer) -> None:
    """Values of the layer, and of the batch norm that it absorbs."""
    source = node.all_input_nodes[0]
    if layer.integers is None or layer.exact is None:
        raise no_integer_form(node, "the layer is float", "give it 8 bits or fewer")
    value = builder.value(source)
    term = builder.single(node, value)
    if term.scale.size != 1:
        raise no_integer_form(node, "its input is on no grid", "give the tensor that it reads 8 bits or fewer")
    place = _place(builder, node, layer.module, term, float(value.offset.reshape(-1)[0]))
    weight, bias = _weight(place, layer.integers, layer.exact)
    inside, at_border = _real_bias(place, weight, bias)
    if builder.program.rounding == "dyadic":
        builder.values[node] = _in_parts(builder, place, weight, inside, at_border)
    else:
        builder.values[node] = _in_one(builder, place, weight, inside, at_border)


def _place(builder: Builder, node: fx.Node, module: nn.Module, term: Term, beta: float) -> _Place:
    facts = builder.facts(term.tensor)
    largest = max(abs(facts.low - term.zero), abs(facts.high - term.zero))
    scale, groups = float(term.scale.reshape(-1)[0]), getattr(module, "groups", 1)
    return _Place(node, module, groups, term.tensor, facts.shape, term.zero, scale, beta, largest)


def _weight(place: _Place, weight: IntegerWeight, exact: ExactScales) -> tuple[_Weight, Doubles]:
    """With the bias [O]."""
    codes = _channels_first(weight, place.groups)
    scale, lowest = (_per_output(part, weight, place.groups) for part in (exact.scale, exact.offset))
    bias = np.broadcast_to(exact.bias, len(codes))
    codes = np.where((scale == 0).reshape(-1, *[1] * (codes.ndim - 1)), 0, codes).astype(np.int32)
    if weight.levels is None:
        codes, lowest = _centred(codes, scale, lowest)
    bits = _per_output(weight.bits, weight, place.groups).astype(np.int64)
    return _Weight(codes, bits, _usable(scale, place.input_scale, bias), lowest), bias


def _in_parts(builder: Builder, place: _Place, weight: _Weight, inside: Doubles, at_border: Doubles) -> Value:
    """Sums of products and sums of inputs, for a requantization that adds both and the bias in 64 bits."""
    acc, shift = _accumulated(builder, place, weight, np.zeros_like(weight.lowest), at_border)
    along, step = _along_channels(place), place.input_scale * 2.0**-shift
    terms = [Term(acc, (weight.scale * step).reshape(along))]
    if weight.lowest.any():
        sums = _sums_of_inputs(builder, place, weight.codes.shape, shift)
        terms.append(Term(sums, (weight.lowest * step).reshape(along)))
    return Value(tuple(terms), inside.reshape(along))


def _in_one(builder: Builder, place: _Place, weight: _Weight, inside: Doubles, at_border: Doubles) -> Value:
    """The accumulator alone, with offset and bias in it."""
    bias = inside.reshape(-1, *[1] * (at_border.ndim - 1)) + at_border
    acc, shift = _accumulated(builder, place, weight, weight.lowest, bias)
    along = _along_channels(place)
    scale = (weight.scale * place.input_scale * 2.0**-shift).reshape(along)
    return Value((Term(acc, scale),), np.zeros([1] * len(along)))


def _along_channels(place: _Place) -> list[int]:
    along = [1] * len(place.shape)
    along[-1 if isinstance(place.module, nn.Linear) else 0] = -1
    return along


def _accumulated(builder: Builder, place: _Place, weight: _Weight, lowest: Doubles, bias: Doubles) -> tuple[str, int]:
    """The tensor of sums, and in how many fractional bits they are; `bias` is [O] or [O, H, W]."""
    shift, offset, whole_bias, bounds = _fitting(place, weight, lowest, bias)
    bound = int(bounds.max())
    operation = _multiply(builder, place, weight.codes, weight.bits)
    operation = replace(operation, shift=shift, offset=offset, bias=whole_bias)
    return builder.add(operation, _output_shape(place.module, place.shape, len(weight.codes)), -bound, bound), shift


def _multiply(builder: Builder, place: _Place, codes: Codes, bits: Integers, part: str = "") -> Multiply:
    nothing = np.zeros(len(codes), np.int64)
    return Multiply(
        (place.tensor,),
        builder.name(place.node, part),
        place.node.name,
        kind=_kind(place.module),
        codes=codes,
        bits=bits,
        zero=place.zero,
        offset=nothing,
        bias=nothing,
        window=_window(place.module),
        output_padding=_pair(getattr(place.module, "output_padding", 0)),
        groups=place.groups,
    )


def _sums_of_inputs(builder: Builder, place: _Place, shape: tuple[int, ...], shift: int) -> str:
    """What every weight of one would give: one channel, or as many as the layer has where groups read their own.

    Shifted as the products are: their two multipliers then have about as many bits.
    """
    outputs, per_channel = shape[0], shape[1:]
    bound = place.largest * math.prod(per_channel) << shift
    if bound > LARGEST:
        raise _overflow(place.node, bound)
    ones = np.ones((place.groups, *per_channel), np.int32)
    operation = replace(_multiply(builder, place, ones, np.zeros(place.groups, np.int64), "inputs"), shift=shift)
    sums = builder.add(operation, _output_shape(place.module, place.shape, place.groups), -bound, bound)
    if place.groups in (1, outputs):
        return sums
    chosen = tuple(group for group in range(place.groups) for _ in range(outputs // place.groups))
    move = Move((sums,), builder.name(place.node, "inputs"), place.node.name, "select", (0, *chosen))
    return builder.add(move, _output_shape(place.module, place.shape, outputs), -bound, bound)


def _fitting(
    place: _Place, weight: _Weight, lowest: Doubles, bias: Doubles
) -> tuple[int, Integers, Integers, Integers]:
    """Shift, offset, bias and bounds, as fine as 32-bit sums allow; UnsupportedModel where none fits."""
    coarsest = MINIMUM_OFFSET_BITS if lowest.any() else 0
    finest = FRACTION_BITS if lowest.any() or bias.any() else 0
    for shift in range(finest, coarsest - 1, -1):
        unit = weight.scale * 2.0**-shift
        offset = np.rint(lowest / unit).astype(np.int64)
        step = (unit * place.input_scale).reshape(-1, *[1] * (bias.ndim - 1))
        whole_bias = np.rint(bias / step).astype(np.int64)
        bounds = accumulator_bounds(weight.codes, shift, offset, whole_bias, place.largest)
        if bounds.max() <= LARGEST:
            return shift, offset, whole_bias, bounds
    raise _overflow(place.node, int(bounds.max()))


def _overflow(node: fx.Node, bound: int) -> UnsupportedModel:
    return no_integer_form(
        node, f"sums of up to {bound:.3g} do not fit 32-bit accumulators", "give the layer or its input fewer bits"
    )


def _real_bias(place: _Place, weight: _Weight, bias: Doubles) -> tuple[Doubles, Doubles]:
    """What to add to every position [O], and what more at each position [O, H, W], or [O] of nothing.

    An input worth `beta` where its code is zero adds beta times the weights that lie on the image: fewer at the border.
    """
    if place.beta == 0:
        return bias, np.zeros(len(bias))
    axes = tuple(range(1, weight.codes.ndim))
    count = math.prod(weight.codes.shape[1:])
    everywhere = place.beta * (weight.scale * weight.codes.sum(axes) + weight.lowest * count)
    if isinstance(place.module, nn.Linear):
        return bias + everywhere, np.zeros(len(bias))
    # whole numbers in float64, so that nothing is left where all weights lie on the image
    codes, counts = (_response_to_ones(place, each.astype(np.float64)) for each in (weight.codes, weight.codes * 0 + 1))
    missing = codes - weight.codes.sum(axes).reshape(-1, 1, 1), counts - count
    scale, lowest = (part.reshape(-1, 1, 1) for part in (weight.scale, weight.lowest))
    return bias + everywhere, place.beta * (scale * missing[0] + lowest * missing[1])


def _response_to_ones(place: _Place, weight: Doubles) -> Doubles:
    """Row and column sums apart would miss corners; a convolution of ones is exact and small."""
    ones, kernel = torch.ones((1, *place.shape), dtype=torch.float64), torch.from_numpy(np.ascontiguousarray(weight))
    module, groups = cast(Any, place.module), place.groups
    how: dict[str, Any] = {"stride": module.stride, "padding": module.padding, "dilation": module.dilation}
    if isinstance(place.module, nn.ConvTranspose2d):
        parts = kernel.reshape(groups, -1, *kernel.shape[1:]).transpose(1, 2).flatten(0, 1)
        how["output_padding"] = module.output_padding
        response = functional.conv_transpose2d(ones, parts, None, groups=groups, **how)
    else:
        response = functional.conv2d(ones, kernel, None, groups=groups, **how)
    sums: Doubles = response[0].numpy()
    return sums


def _channels_first(weight: IntegerWeight, groups: int) -> Codes:
    """O, I/groups, kh, kw also for a transposed convolution, whose file has I, O/groups, kh, kw."""
    if weight.axis == 0:
        return weight.codes
    inputs, per_group, *kernel = weight.codes.shape
    parts = weight.codes.reshape(groups, inputs // groups, per_group, *kernel).swapaxes(1, 2)
    return np.ascontiguousarray(parts.reshape(groups * per_group, inputs // groups, *kernel))


def _centred(codes: Codes, scale: Doubles, lowest: Doubles) -> tuple[Codes, Doubles]:
    """The same weights with codes around zero, so that less than a step of the offset is left.

    Small sums leave room for a fine `shift`, to whose steps the rest of the offset is rounded.
    """
    steps = np.rint(np.divide(lowest, scale, out=np.zeros_like(lowest), where=scale != 0))
    moved = codes + steps.astype(np.int32).reshape(-1, *[1] * (codes.ndim - 1))
    return moved.astype(np.int32), lowest - steps * scale


def _per_output(values: NDArray[Any], weight: IntegerWeight, groups: int) -> Doubles:
    """One entry per output channel: in a transposed convolution the groups share them."""
    return np.tile(values.astype(np.float64), groups if weight.axis == 1 else 1)


def _usable(scale: Doubles, input_scale: float, bias: Doubles) -> Doubles:
    """A channel that a batch norm multiplied by zero is its bias alone: any scale will do that writes it finely."""
    spare = np.maximum(np.abs(bias), 1e-6) / 2.0**20 / input_scale
    return np.where(scale == 0, spare, scale)


def _kind(module: nn.Module) -> Any:
    return {nn.Conv2d: "conv2d", nn.ConvTranspose2d: "conv_transpose2d", nn.Linear: "linear"}[type(module)]


def _window(module: nn.Module) -> Window:
    if isinstance(module, nn.Linear):
        return Window()
    conv = cast(nn.Conv2d, module)
    top, left = _pair(conv.padding)
    return Window(_pair(conv.kernel_size), _pair(conv.stride), (top, left, top, left), _pair(conv.dilation))


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _output_shape(module: nn.Module, shape: tuple[int, ...], channels: int) -> tuple[int, ...]:
    if isinstance(module, nn.Linear):
        return (*shape[:-1], channels)
    window = _window(module)
    top, left, bottom, right = window.padding
    extents = zip(shape[1:], window.kernel, window.stride, (top + bottom, left + right), window.dilation, strict=True)
    if isinstance(module, nn.ConvTranspose2d):
        extra = _pair(module.output_padding)
        sizes = [
            (size - 1) * stride - padding + (kernel - 1) * dilation + 1 + more
            for (size, kernel, stride, padding, dilation), more in zip(extents, extra, strict=True)
        ]
    else:
        sizes = [
            (size + padding - (kernel - 1) * dilation - 1) // stride + 1
            for size, kernel, stride, padding, dilation in extents
        ]
    return (channels, *sizes)
