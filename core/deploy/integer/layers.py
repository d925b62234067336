"""Convolutions and linear layers in integers, batch norm absorbed, with the proof that 32 bits hold their sums."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional

from core.deploy.deploy_layers import DeployLayer
from core.deploy.integer.bounds import LARGEST, accumulator_bounds
from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.program import Codes, Integers, Multiply, Window
from core.deploy.integer.values import Doubles, Term, Value
from core.deploy.integer_weight import IntegerWeight

# Sums are kept in fractions of input step times weight step, so that at few bits the bias, and the level zero of a
# weight grid without one, are not rounded to whole steps.
FRACTION_BITS = 24
MINIMUM_OFFSET_BITS = 4


def build_layer(builder: Builder, node: fx.Node, layer: DeployLayer) -> None:
    """Values of the layer, and of the batch norm that it absorbs."""
    source = node.all_input_nodes[0]
    if layer.integers is None:
        raise no_integer_form(node, "the layer is float", "give it 8 bits or fewer")
    value = builder.value(source)
    term = builder.single(node, value)
    if term.scale.size != 1:
        raise no_integer_form(node, "its input is on no grid", "give the tensor that it reads 8 bits or fewer")
    result = _integer_layer(builder, node, layer, layer.integers, term, float(value.offset.reshape(-1)[0]))
    builder.values[node] = result


def _integer_layer(
    builder: Builder, node: fx.Node, layer: DeployLayer, weight: IntegerWeight, term: Term, beta: float
) -> Value:
    module, groups = layer.module, getattr(layer.module, "groups", 1)
    codes = _channels_first(weight, groups)
    scale, lowest = (_per_output(part, weight, groups) for part in (weight.scale, weight.offset))
    bits = _per_output(weight.bits, weight, groups).astype(np.int64)
    facts = builder.facts(term.tensor)
    shape = _output_shape(module, facts.shape, len(codes))
    bias = np.zeros(len(codes)) if layer.bias is None else layer.bias.astype(np.float64)
    codes = np.where((scale == 0).reshape(-1, *[1] * (codes.ndim - 1)), 0, codes).astype(np.int32)
    if weight.levels is None:
        codes, lowest = _centred(codes, scale, lowest)
    scale = _usable(scale, float(term.scale.reshape(-1)[0]), bias)
    largest = max(abs(facts.low - term.zero), abs(facts.high - term.zero))
    place = _Place(module, groups, float(term.scale.reshape(-1)[0]), beta, largest, facts.shape)
    shift, offset, whole_bias, bounds = _fitting(node, place, codes, scale, lowest, bias)
    operation = Multiply(
        (term.tensor,),
        builder.name(node),
        node.name,
        kind=_kind(module),
        codes=codes,
        bits=bits,
        zero=term.zero,
        shift=shift,
        offset=offset,
        bias=whole_bias,
        window=_window(module),
        output_padding=_pair(getattr(module, "output_padding", 0)),
        groups=groups,
    )
    bound = int(bounds.max())
    tensor = builder.add(operation, shape, -bound, bound)
    along = [1] * len(shape)
    along[-1 if isinstance(module, nn.Linear) else 0] = -1
    per_channel = (scale * place.input_scale * 2.0**-shift).reshape(along)
    return Value((Term(tensor, per_channel),), np.zeros([1] * len(shape)))


class _Place:
    """Where a layer stands: its input's scale, the real value of code zero, the largest |x - zero|, the shape."""

    def __init__(
        self, module: nn.Module, groups: int, input_scale: float, beta: float, largest: int, shape: tuple[int, ...]
    ) -> None:
        self.module, self.groups, self.input_scale, self.beta = module, groups, input_scale, beta
        self.largest, self.shape = largest, shape


def _fitting(
    node: fx.Node, place: _Place, codes: Codes, scale: Doubles, lowest: Doubles, bias: Doubles
) -> tuple[int, Integers, Integers, Integers]:
    """Shift, offset, bias and bounds, as fine as 32-bit sums allow; UnsupportedModel where none fits."""
    coarsest = MINIMUM_OFFSET_BITS if lowest.any() else 0
    for shift in range(FRACTION_BITS, coarsest - 1, -1):
        unit = scale * 2.0**-shift
        offset = np.rint(lowest / unit).astype(np.int64)
        real_bias = bias.reshape(-1, *[1] * (2 if _border_matters(place) else 0)) + place.beta * _weight_sums(
            place, codes * scale.reshape(-1, *[1] * (codes.ndim - 1)) + lowest.reshape(-1, *[1] * (codes.ndim - 1))
        )
        step = unit * place.input_scale
        whole_bias = np.rint(real_bias / step.reshape(-1, *[1] * (real_bias.ndim - 1))).astype(np.int64)
        bounds = accumulator_bounds(codes, shift, offset, whole_bias, place.largest)
        if bounds.max() <= LARGEST:
            return shift, offset, whole_bias, bounds
    raise no_integer_form(
        node,
        f"sums of up to {bounds.max():.3g} do not fit 32-bit accumulators",
        "give the layer or its input fewer bits",
    )


def _border_matters(place: _Place) -> bool:
    return place.beta != 0 and not isinstance(place.module, nn.Linear)


def _weight_sums(place: _Place, weight: Doubles) -> Doubles:
    """[O], or [O, H, W]: the sum of the weights that lie on the image, which an input of ones shows."""
    if place.beta == 0:
        return np.zeros(len(weight))
    if not _border_matters(place):
        return cast(Doubles, weight.sum(1))
    return _response_to_ones(place, weight)


def _response_to_ones(place: _Place, weight: Doubles) -> Doubles:
    """Row and column sums apart would miss corners; a convolution of ones is exact and small."""
    ones, kernel = torch.ones((1, *place.shape), dtype=torch.float64), torch.from_numpy(np.ascontiguousarray(weight))
    module, groups = cast(Any, place.module), place.groups
    how: dict[str, Any] = {"stride": module.stride, "padding": module.padding, "dilation": module.dilation}
    if isinstance(place.module, nn.ConvTranspose2d):
        grouped = kernel.reshape(groups, -1, *kernel.shape[1:]).transpose(1, 2).flatten(0, 1)
        how["output_padding"] = module.output_padding
        response = functional.conv_transpose2d(ones, grouped, None, groups=groups, **how)
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
