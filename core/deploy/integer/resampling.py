"""Linear interpolation, and averages over different numbers of values: whole-number weights along one dimension.

Interpolation weights have as many fractional bits as they need, and FRACTION_BITS at most; the weights of one position
always add up to what they do in float, so that a constant image stays one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import fx

from core.deploy.integer.builder import Builder
from core.deploy.integer.program import Integers, Resample
from core.deploy.integer.summing import summable
from core.deploy.integer.values import Doubles, Term, Value

FRACTION_BITS = 12
Matrix = NDArray[np.float64]  # output x input


def interpolation(size: int, output: int, *, ratio: float, align_corners: bool) -> Matrix:
    """The weights of torch's linear modes along one dimension; `ratio`: input steps per output step."""
    position = np.arange(output, dtype=np.float64)
    if align_corners:
        source = position * ((size - 1) / max(output - 1, 1))
    else:
        source = np.clip((position + 0.5) * ratio - 0.5, 0, size - 1)
    low = np.minimum(np.floor(source).astype(np.int64), size - 1)
    share = source - low
    weights = np.zeros((output, size))
    np.add.at(weights, (np.arange(output), low), 1 - share)
    np.add.at(weights, (np.arange(output), np.minimum(low + 1, size - 1)), share)
    return weights


def in_fixed_point(matrix: Matrix) -> tuple[Integers, int]:
    """Whole-number weights and their unit, a power of two."""
    bits = next((bits for bits in range(FRACTION_BITS) if _is_whole(matrix * 2**bits)), FRACTION_BITS)
    unit = 2**bits
    weights = np.rint(matrix * unit).astype(np.int64)
    missing = np.rint(matrix.sum(1) * unit).astype(np.int64) - weights.sum(1)
    weights[np.arange(len(weights)), np.abs(weights).argmax(1)] += missing
    return weights, unit


def _is_whole(values: Matrix) -> bool:
    return bool(np.abs(values - np.rint(values)).max(initial=0) < 2.0**-20)


def averages(counts: Sequence[int], inside: NDArray[np.bool_]) -> tuple[Integers, int]:
    """1 / count where `inside` [output, input] holds: exact fractions where their common unit is not too large."""
    unit = math.lcm(*counts)
    if unit <= 2**FRACTION_BITS:
        weights: Integers = inside * (unit // np.array(counts, np.int64))[:, None]
        return weights, unit
    return in_fixed_point(inside / np.array(counts, np.float64)[:, None])


def resampled(
    builder: Builder,
    node: fx.Node,
    value: Value,
    along: Mapping[int, tuple[Integers, int]],
    *,
    padded: bool = False,
) -> Value:
    """By weights and their unit along each axis, one after the other; `padded`: weights may leave out a zero."""
    for axis, (weights, unit) in along.items():
        value = _resampled(builder, node, value, axis, weights, unit, padded=padded)
    return value


def _resampled(
    builder: Builder, node: fx.Node, value: Value, axis: int, weights: Integers, unit: int, *, padded: bool
) -> Value:
    heaviest = max(int(np.abs(weights).sum(1).max()), 1)
    value = summable(builder, node, value, heaviest, padded=padded)
    term = value.terms[0]
    facts = builder.facts(term.tensor)
    places, taps = _taps(weights)
    operation = Resample(
        (term.tensor,),
        builder.name(node, "resampled"),
        node.name,
        axis=axis,
        places=places,
        weights=taps,
        unit=unit,
        zero=term.zero,
    )
    bound = heaviest * max(abs(facts.low - term.zero), abs(facts.high - term.zero))
    shape = [len(weights) if at == axis else extent for at, extent in enumerate(facts.shape)]
    tensor = builder.add(operation, shape, -bound, bound)
    return Value((Term(tensor, term.scale / unit),), _offset(value.offset, axis, weights.sum(1) / unit))


def _offset(offset: Doubles, axis: int, sums: Doubles) -> Doubles:
    if not offset.any() or (sums == 1).all():
        return offset
    return offset * sums.reshape([-1 if at == axis else 1 for at in range(offset.ndim)])


def _taps(weights: Integers) -> tuple[Integers, Integers]:
    """Positions and weights [output, taps] of what is not zero; rows with fewer repeat a position with weight 0."""
    count = max(int((weights != 0).sum(1).max()), 1)
    order = np.sort(np.argsort(weights == 0, axis=1, kind="stable")[:, :count], axis=1)
    return order, np.take_along_axis(weights, order, 1)
