"""Runs an integer program on integers alone: the reference that exports and compiled code are compared with.

Between the codes of the image and the scores of the output no float occurs. Accumulators are 32 bits, which
`core.deploy.integer.bounds` has shown to be enough; products in a requantization are 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from core.deploy.integer.multiplier import FixedPoint
from core.deploy.integer.program import (
    IntegerProgram,
    Lookup,
    Move,
    Multiply,
    Operation,
    Pool,
    Product,
    Requantize,
    Resample,
    Scale,
    Threshold,
    Window,
)

SMALLEST = torch.iinfo(torch.int32).min


class IntegerExecutor:
    """Holds the program's numbers as tensors. `__call__` takes images, `run` codes."""

    def __init__(self, program: IntegerProgram) -> None:
        self.program = program
        self._last_use = _last_use(program)

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """N, C, H, W -> scores; the only floats are the image before and the scale behind."""
        codes = self.program.input_grid.codes(images)
        return self.run(codes)[self.program.output].astype(np.float64) * self.program.output_scale

    def run(self, codes: NDArray[np.int32], keep: frozenset[str] = frozenset()) -> dict[str, NDArray[np.int32]]:
        """Codes of the images, N first -> the output's integers and those of the tensors in `keep`, int32."""
        program = self.program
        values: dict[str, Tensor] = {program.input: torch.from_numpy(np.ascontiguousarray(codes, np.int32))}
        wanted = keep | {program.output}
        for position, operation in enumerate(program.operations):
            values[operation.output] = execute(operation, [values[name] for name in operation.inputs])
            for name in set(operation.inputs):
                if self._last_use[name] == position and name not in wanted:
                    del values[name]
        return {name: values[name].numpy() for name in wanted}


def _last_use(program: IntegerProgram) -> dict[str, int]:
    return {name: position for position, operation in enumerate(program.operations) for name in operation.inputs}


def execute(operation: Operation, inputs: list[Tensor]) -> Tensor:
    """One operation on int32 tensors with the batch first; int32."""
    result = _RULES[type(operation)](operation, inputs)
    if result.dtype != torch.int32:
        raise TypeError(f"{operation.source}: {result.dtype} where 32-bit integers were expected")
    return result


def along(values: NDArray[np.int64], axis: int, rank: int) -> Tensor:
    """[C] or [1], shaped to broadcast over a tensor of `rank` dimensions, the batch included."""
    shape = [1] * rank
    shape[axis + 1] = -1
    return torch.from_numpy(values).reshape(shape)


def _multiply(operation: Multiply, inputs: list[Tensor]) -> Tensor:
    x = inputs[0] - operation.zero
    codes = torch.from_numpy(operation.codes)
    acc = _products(operation, x, codes)
    if operation.shift:
        acc = acc << operation.shift
    if operation.offset.any():
        ones = torch.ones_like(codes[: operation.groups])
        sums = _products(operation, x, ones)
        per_group = len(codes) // operation.groups
        channel = -1 if operation.kind == "linear" else 1
        sums = sums.repeat_interleave(per_group, channel)
        acc = acc + sums * _channels(operation.offset, operation, acc)
    return acc + _channels(operation.bias, operation, acc)


def _channels(values: NDArray[np.int64], operation: Multiply, acc: Tensor) -> Tensor:
    tensor = torch.from_numpy(values.astype(np.int32))
    if operation.kind == "linear":
        return tensor
    return tensor.reshape(1, len(tensor), *(values.shape[1:] or (1, 1)))


def _products(operation: Multiply, x: Tensor, codes: Tensor) -> Tensor:
    if operation.kind == "linear":
        return x @ codes.T
    window = operation.window
    top, left, bottom, right = window.padding
    if operation.kind == "conv2d":
        padded = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(padded, _spread(codes, window), None, window.stride, 0, 1, operation.groups)
    return _transposed(operation, x, codes)


def _spread(codes: Tensor, window: Window) -> Tensor:
    """Zeros between the weights of a dilated kernel: torch has no dilated convolution of integers."""
    if window.dilation == (1, 1):
        return codes
    (rows, columns), (down, right) = window.kernel, window.dilation
    spread = codes.new_zeros(*codes.shape[:2], (rows - 1) * down + 1, (columns - 1) * right + 1)
    spread[:, :, ::down, ::right] = codes
    return spread


def _transposed(operation: Multiply, x: Tensor, codes: Tensor) -> Tensor:
    """A convolution of the input with zeros between its values, the kernel turned around."""
    window, (height, width) = operation.window, x.shape[2:]
    (vertical, horizontal), (extra_rows, extra_columns) = window.stride, operation.output_padding
    spread = x.new_zeros(*x.shape[:2], (height - 1) * vertical + 1, (width - 1) * horizontal + 1)
    spread[:, :, ::vertical, ::horizontal] = x
    reach = [(extent - 1) * each for extent, each in zip(window.kernel, window.dilation, strict=True)]
    top, left, bottom, right = window.padding
    amounts = (reach[1] - left, reach[1] - right + extra_columns, reach[0] - top, reach[0] - bottom + extra_rows)
    padded = functional.pad(spread, amounts)
    return functional.conv2d(padded, _spread(codes.flip(2, 3), window).contiguous(), None, 1, 0, 1, operation.groups)


def _requantize(operation: Requantize, inputs: list[Tensor]) -> Tensor:
    rank, axis = inputs[0].dim(), operation.axis
    if operation.dyadic is not None:
        form = operation.dyadic
        total = along(form.addend, axis, rank).expand(inputs[0].shape).clone()
        for x, zero, multiplier in zip(inputs, operation.zeros, form.multiplier, strict=True):
            total += (x.long() - zero) * along(multiplier, axis, rank)
        rounded = total >> along(form.shift, axis, rank)
    else:
        rounded = _twice_rounded(operation, inputs)
    return (rounded + operation.zero).clamp_(operation.low, operation.high).to(torch.int32)


def _twice_rounded(operation: Requantize, inputs: list[Tensor]) -> Tensor:
    rank, axis = inputs[0].dim(), operation.axis
    shifted = [(x.long() - zero) << operation.join_shift for x, zero in zip(inputs, operation.zeros, strict=True)]
    shifted[0] = shifted[0] + along(operation.constant, axis, rank)
    parts = [times_fixed_point(x, form, axis) for x, form in zip(shifted, operation.fixed_point, strict=True)]
    total = torch.stack(parts).sum(0)
    return total if operation.join is None else times_fixed_point(total, operation.join, axis)


def times_fixed_point(x: Tensor, form: FixedPoint, axis: int) -> Tensor:
    """gemmlowp: the high half of the doubled product, then a rounding shift, on int64 that hold 32-bit values."""
    rank = x.dim()
    multiplier, left, right = (along(part, axis, rank) for part in (form.multiplier, form.left, form.right))
    product = (x << left).clamp_(-(2**31), 2**31 - 1) * multiplier
    nudged = product + torch.where(product >= 0, 2**30, 1 - 2**30)
    high = torch.div(nudged, 2**31, rounding_mode="trunc")
    mask = (torch.ones_like(right) << right) - 1
    remainder = high & mask
    threshold = (mask >> 1) + (high < 0).long()
    return (high >> right) + (remainder > threshold).long()


def _threshold(operation: Threshold, inputs: list[Tensor]) -> Tensor:
    x = inputs[0]
    table = torch.from_numpy(operation.table)
    if len(operation.thresholds) == 1:
        return table[torch.bucketize(x.long(), torch.from_numpy(operation.thresholds[0]), right=True)]
    channels = x.movedim(operation.axis + 1, 0).long()
    flat = channels.reshape(len(channels), -1).contiguous()
    found = torch.searchsorted(torch.from_numpy(operation.thresholds), flat, right=True)
    return table[found].reshape(channels.shape).movedim(0, operation.axis + 1)


def _lookup(operation: Lookup, inputs: list[Tensor]) -> Tensor:
    entries = operation.table.shape[1]
    position = inputs[0].long().sub_(operation.low).clamp_(0, entries - 1)
    table = torch.from_numpy(operation.table)
    if len(table) == 1:
        return table[0][position]
    row = along(np.arange(len(table)), operation.axis, position.dim())
    return table[row.expand_as(position), position]


def _scale(operation: Scale, inputs: list[Tensor]) -> Tensor:
    rank, axis = inputs[0].dim(), operation.axis
    result = inputs[0].long() * along(operation.factor, axis, rank) + along(operation.addend, axis, rank)
    if operation.low is not None:
        result = torch.maximum(result, along(operation.low, axis, rank))
    if operation.high is not None:
        result = torch.minimum(result, along(operation.high, axis, rank))
    return result.to(torch.int32)


def _pool(operation: Pool, inputs: list[Tensor]) -> Tensor:
    window, x = operation.window, inputs[0]
    top, left, bottom, right = window.padding
    if operation.kind == "sum":
        x = x - operation.zero
    padded = functional.pad(x, (left, right, top, bottom), value=SMALLEST if operation.kind == "max" else 0)
    views = [
        padded[:, :, _taps(padded.shape[2], window, row, 0), _taps(padded.shape[3], window, column, 1)]
        for row in range(window.kernel[0])
        for column in range(window.kernel[1])
    ]
    result = views[0].clone()
    for view in views[1:]:
        result = torch.maximum(result, view) if operation.kind == "max" else result.add_(view)
    return result


def _taps(extent: int, window: Window, position: int, axis: int) -> slice:
    """Where one element of the kernel stands over all window positions."""
    reach = (window.kernel[axis] - 1) * window.dilation[axis]
    first = position * window.dilation[axis]
    return slice(first, first + extent - reach, window.stride[axis])


def _product(operation: Product, inputs: list[Tensor]) -> Tensor:
    first, second = (x - zero for x, zero in zip(inputs, operation.zeros, strict=True))
    return first * second if operation.kind == "values" else first @ second


def _resample(operation: Resample, inputs: list[Tensor]) -> Tensor:
    x, axis = inputs[0] - operation.zero, operation.axis
    result = torch.zeros(1, dtype=torch.int32)
    for places, weights in zip(operation.places.T, operation.weights.T, strict=True):
        taken = x.index_select(axis + 1, torch.from_numpy(np.ascontiguousarray(places)))
        result = result + taken * along(np.ascontiguousarray(weights), axis, x.dim()).to(torch.int32)
    return result


def _move(operation: Move, inputs: list[Tensor]) -> Tensor:
    return _MOVES[operation.kind](operation, inputs).contiguous()


def _pad(operation: Move, inputs: list[Tensor]) -> Tensor:
    pairs = list(zip(operation.numbers[::2], operation.numbers[1::2], strict=True))
    amounts = [amount for pair in reversed(pairs) for amount in pair]
    return functional.pad(inputs[0], amounts, value=operation.zero)


def _slice(operation: Move, inputs: list[Tensor]) -> Tensor:
    numbers = operation.numbers
    cuts = [slice(*numbers[start : start + 3]) for start in range(0, len(numbers), 3)]
    return inputs[0][(slice(None), *cuts)]


def _repeat(operation: Move, inputs: list[Tensor]) -> Tensor:
    result = inputs[0]
    for dimension, factor in enumerate(operation.numbers, 1):
        result = result.repeat_interleave(factor, dimension) if factor > 1 else result
    return result


_MOVES: dict[str, Callable[[Move, list[Tensor]], Tensor]] = {
    "reshape": lambda move, inputs: inputs[0].reshape(len(inputs[0]), *move.numbers),
    "permute": lambda move, inputs: inputs[0].permute(0, *(each + 1 for each in move.numbers)),
    "concat": lambda move, inputs: torch.cat(inputs, move.numbers[0] + 1),
    "slice": _slice,
    "pad": _pad,
    "repeat": _repeat,
    "pixel-shuffle": lambda move, inputs: functional.pixel_shuffle(inputs[0], move.numbers[0]),
    "select": lambda move, inputs: inputs[0].index_select(move.numbers[0] + 1, torch.tensor(move.numbers[1:])),
    "flip": lambda move, inputs: inputs[0].flip([each + 1 for each in move.numbers]),
}
_RULES: dict[type[Operation], Callable[[Any, list[Tensor]], Tensor]] = {
    Multiply: _multiply,
    Requantize: _requantize,
    Threshold: _threshold,
    Lookup: _lookup,
    Scale: _scale,
    Pool: _pool,
    Product: _product,
    Resample: _resample,
    Move: _move,
}
