"""Deploy mode: the trained network as integers see it, evaluated in float64. The executor must equal it to the bit.

Written apart from the executor: convolutions are float64 convolutions of whole numbers (exact below 2^53), and a
requantization's product of 63 bits is computed in two parts that float64 holds exactly.
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
)

LIMB = 2.0**16


class DeployMode:
    """The program's numbers as float64 tensors."""

    def __init__(self, program: IntegerProgram) -> None:
        self.program = program

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """N, C, H, W -> scores."""
        codes = self.program.input_grid.codes(images)
        scores: NDArray[np.float64] = self.run(codes)[self.program.output] * self.program.output_scale
        return scores

    def run(self, codes: NDArray[np.int32], keep: frozenset[str] = frozenset()) -> dict[str, NDArray[np.float64]]:
        """The output and the tensors in `keep`, whole numbers in float64."""
        values = {self.program.input: torch.from_numpy(codes.astype(np.float64))}
        for operation in self.program.operations:
            values[operation.output] = _RULES[type(operation)](operation, [values[name] for name in operation.inputs])
        return {name: values[name].numpy() for name in keep | {self.program.output}}


def _broadcast(values: NDArray[Any], axis: int, rank: int) -> Tensor:
    shape = [1] * rank
    shape[axis + 1] = -1
    return torch.from_numpy(values.astype(np.float64)).reshape(shape)


def _multiply(operation: Multiply, inputs: list[Tensor]) -> Tensor:
    """One multiplication with the weight in steps of 2^-shift, its level zero included."""
    codes = operation.codes.astype(np.float64)
    offset = operation.offset.astype(np.float64).reshape(-1, *[1] * (codes.ndim - 1))
    weight = torch.from_numpy(codes * 2.0**operation.shift + offset)
    x, window = inputs[0] - operation.zero, operation.window
    bias = torch.from_numpy(operation.bias.astype(np.float64))
    if operation.kind == "linear":
        return functional.linear(x, weight, bias)
    if operation.kind == "conv2d":
        top, left, bottom, right = window.padding
        x = functional.pad(x, (left, right, top, bottom))
        acc = functional.conv2d(x, weight, None, window.stride, 0, window.dilation, operation.groups)
    else:
        groups = operation.groups
        outputs, inputs_per_group, *kernel = weight.shape
        grouped = weight.reshape(groups, outputs // groups, inputs_per_group, *kernel).transpose(1, 2)
        acc = functional.conv_transpose2d(
            x, grouped.reshape(groups * inputs_per_group, outputs // groups, *kernel), None, window.stride,
            window.padding[:2], operation.output_padding, groups, window.dilation,
        )  # fmt: skip
    return acc + bias.reshape(1, len(bias), *(bias.shape[1:] or (1, 1)))


def shifted_sum(xs: list[Tensor], multipliers: list[Tensor], addend: NDArray[np.int64], shift: Tensor) -> Tensor:
    """floor((sum of x * multiplier + addend) / 2^shift), exact though the sum has up to 63 bits.

    x = 2^16 a + b and the addend likewise: both partial sums stay below 2^53, the lower one's carry goes up.
    """
    high_addend = np.floor_divide(addend, 2**16)
    upper = torch.from_numpy(high_addend.astype(np.float64)).reshape(shift.shape)
    lower = torch.from_numpy((addend - high_addend * 2**16).astype(np.float64)).reshape(shift.shape)
    for x, multiplier in zip(xs, multipliers, strict=True):
        a = torch.floor(x / LIMB)
        upper = upper + a * multiplier
        lower = lower + (x - a * LIMB) * multiplier
    carry = torch.floor(lower / LIMB)
    upper, lower = upper + carry, lower - carry * LIMB
    large = torch.floor(upper / torch.exp2(shift - 16))
    small = upper * torch.exp2(16 - shift) + torch.floor(lower / torch.exp2(shift))
    return torch.where(shift >= 16, large, small)


def _requantize(operation: Requantize, inputs: list[Tensor]) -> Tensor:
    rank, axis = inputs[0].dim(), operation.axis
    xs = [x - zero for x, zero in zip(inputs, operation.zeros, strict=True)]
    if operation.dyadic is not None:
        form = operation.dyadic
        multipliers = [_broadcast(row, axis, rank) for row in form.multiplier]
        rounded = shifted_sum(xs, multipliers, form.addend, _broadcast(form.shift, axis, rank))
    else:
        xs = [x * 2.0**operation.join_shift for x in xs]
        xs[0] = xs[0] + _broadcast(operation.constant, axis, rank)
        parts = [_fixed_point(x, form, axis) for x, form in zip(xs, operation.fixed_point, strict=True)]
        rounded = torch.stack(parts).sum(0)
        rounded = rounded if operation.join is None else _fixed_point(rounded, operation.join, axis)
    return torch.clamp(rounded + operation.zero, operation.low, operation.high)


def _fixed_point(x: Tensor, form: FixedPoint, axis: int) -> Tensor:
    """As gemmlowp defines it: halves of the doubled product's high part go up in magnitude, twice."""
    rank = x.dim()
    multiplier, left, right = (_broadcast(part, axis, rank) for part in (form.multiplier, form.left, form.right))
    x = torch.clamp(x * torch.exp2(left), -(2.0**31), 2.0**31 - 1)
    ones = np.zeros(form.multiplier.shape, np.int64)
    magnitude = x.abs() * 1.0
    negative = (x < 0) ^ (multiplier < 0)
    # gemmlowp's nudge (2^30 or 1 - 2^30, then truncation) rounds halves up, that is towards zero below zero
    half = np.full(ones.shape, 2**30, np.int64)
    shift = torch.full_like(_broadcast(ones, axis, rank), 31.0)
    away = shifted_sum([magnitude], [multiplier.abs()], half, shift)
    towards = shifted_sum([magnitude], [multiplier.abs()], half - 1, shift)
    high = torch.where(negative, -towards, away)
    down = torch.exp2(right)
    return torch.where(high < 0, -1.0, 1.0) * torch.floor(high.abs() / down + torch.where(right > 0, 0.5, 0.0))


def _threshold(operation: Threshold, inputs: list[Tensor]) -> Tensor:
    """Every threshold that is reached adds the distance to the next code."""
    x, table = inputs[0], operation.table.astype(np.float64)
    result = torch.full_like(x, float(table[0]))
    for position, distance in enumerate(np.diff(table)):
        limit = _broadcast(operation.thresholds[:, position], operation.axis, x.dim())
        result += (x >= limit) * float(distance)
    return result


def _lookup(operation: Lookup, inputs: list[Tensor]) -> Tensor:
    entries = operation.table.shape[1]
    position = torch.clamp(inputs[0] - operation.low, 0, entries - 1).long().numpy()
    if len(operation.table) == 1:
        return torch.from_numpy(operation.table[0].astype(np.float64)[position])
    rows = np.arange(len(operation.table)).reshape([-1 if d == operation.axis + 1 else 1 for d in range(position.ndim)])
    return torch.from_numpy(operation.table.astype(np.float64)[rows, position])


def _scale(operation: Scale, inputs: list[Tensor]) -> Tensor:
    x, axis = inputs[0], operation.axis
    result = x * _broadcast(operation.factor, axis, x.dim()) + _broadcast(operation.addend, axis, x.dim())
    if operation.low is not None:
        result = torch.maximum(result, _broadcast(operation.low, axis, x.dim()))
    if operation.high is not None:
        result = torch.minimum(result, _broadcast(operation.high, axis, x.dim()))
    return result


def _pool(operation: Pool, inputs: list[Tensor]) -> Tensor:
    window = operation.window
    top, left, bottom, right = window.padding
    if operation.kind == "max":
        x = functional.pad(inputs[0], (left, right, top, bottom), value=-torch.inf)
        return functional.max_pool2d(x, window.kernel, window.stride, 0, window.dilation)
    x = functional.pad(inputs[0] - operation.zero, (left, right, top, bottom))
    ones = torch.ones((x.shape[1], 1, *window.kernel), dtype=torch.float64)
    return functional.conv2d(x, ones, None, window.stride, 0, window.dilation, x.shape[1])


def _product(operation: Product, inputs: list[Tensor]) -> Tensor:
    equation = "n...,n...->n..." if operation.kind == "values" else "n...ik,n...kj->n...ij"
    return torch.einsum(equation, inputs[0] - operation.zeros[0], inputs[1] - operation.zeros[1])


def _resample(operation: Resample, inputs: list[Tensor]) -> Tensor:
    """One multiplication with a matrix that has all weights in it."""
    axis, x = operation.axis + 1, inputs[0] - operation.zero
    matrix = np.zeros((len(operation.weights), x.shape[axis]))
    np.add.at(matrix, (np.arange(len(matrix))[:, None], operation.places), operation.weights)
    return (x.movedim(axis, -1) @ torch.from_numpy(matrix).T).movedim(-1, axis)


def _move(operation: Move, inputs: list[Tensor]) -> Tensor:
    """By numpy, which has none of the executor's code."""
    x, numbers = inputs[0].numpy(), operation.numbers
    rules: dict[str, Callable[[], NDArray[Any]]] = {
        "reshape": lambda: x.reshape((len(x), *numbers)),
        "permute": lambda: np.transpose(x, (0, *(each + 1 for each in numbers))),
        "concat": lambda: np.concatenate([each.numpy() for each in inputs], numbers[0] + 1),
        "slice": lambda: x[(slice(None), *(slice(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)))],
        "pad": lambda: np.pad(
            x, [(0, 0), *zip(numbers[::2], numbers[1::2], strict=True)], constant_values=operation.zero
        ),
        "repeat": lambda: np.kron(x, np.ones((1, *numbers))),
        "pixel-shuffle": lambda: functional.pixel_shuffle(inputs[0], numbers[0]).numpy(),
        "select": lambda: np.take(x, numbers[1:], numbers[0] + 1),
        "flip": lambda: np.flip(x, tuple(each + 1 for each in numbers)),
    }
    return torch.from_numpy(np.ascontiguousarray(rules[operation.kind]()))


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
