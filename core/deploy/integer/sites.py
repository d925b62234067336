"""Bringing a value to the grid of an activation quantizer: by factors, by thresholds, or through a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import fx

from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.multiplier import dyadic, fixed_point
from core.deploy.integer.program import Integers, Lookup, Move, Requantize, Scale, Threshold
from core.deploy.integer.values import UNBOUNDED, Doubles, Pieces, Term, Value, shared_axis, varying_axis
from core.quantizers.site_range import ActivationGrid

FINER = 64  # steps of a function's argument in one step of its result
MOST_ENTRIES = 2**16
MOST_POSITIONS = 2**21  # of an argument that are tried
HALVINGS = 4
HEADROOM_BITS = 31
FINEST = 2**28


def build_site(builder: Builder, node: fx.Node) -> None:
    """An activation quantizer: its input's value, in codes of its grid."""
    site = builder.sites.get(node)
    source = node.all_input_nodes[0]
    found = builder.values[source]
    if site is None:  # a policy that says float
        builder.values[node] = found
        return
    if isinstance(found, Pieces):
        value = joined(builder, node, found, site.grid)
    else:
        value = to_grid(builder, node, found, site.grid)
    builder.values[node] = value
    builder.program.sites[site.name] = value.terms[0].tensor


def joined(builder: Builder, node: fx.Node, pieces: Pieces, grid: ActivationGrid) -> Value:
    """All pieces on one grid, and in one tensor."""
    parts = [to_grid(builder, node, value.clamped(*pieces.clamp), grid) for value in pieces.values]
    names = tuple(part.terms[0].tensor for part in parts)
    shapes = [builder.facts(name).shape for name in names]
    shape = list(shapes[0])
    shape[pieces.axis] = sum(each[pieces.axis] for each in shapes)
    low, high = min(builder.facts(name).low for name in names), max(builder.facts(name).high for name in names)
    operation = Move(names, builder.name(node, "joined"), node.name, "concat", (pieces.axis,), grid.zero_point)
    tensor = builder.add(operation, shape, low, high)
    return replace(parts[0], terms=(replace(parts[0].terms[0], tensor=tensor),))


def to_grid(builder: Builder, node: fx.Node, value: Value, grid: ActivationGrid) -> Value:
    """Codes of the grid, with whatever was pending applied."""
    if shared_axis(*(term.scale for term in value.terms), value.offset) is None:
        return _as_one_row(builder, node, value, lambda row: to_grid(builder, node, row, grid))
    if value.functions:
        tensor = _through_table(builder, node, value, grid)
    elif grid.thresholds or grid.rounding == "up" or grid.levels:
        tensor = _by_thresholds(builder, node, value, grid)
    else:
        low, high = _limits(grid, value.clamp)
        constant = (value.offset - grid.offset) / grid.scale
        tensor = requantized(builder, node, value.terms, constant, grid.scale, grid.zero_point, low, high)
    return _on_grid(builder, tensor, grid)


def _as_one_row(builder: Builder, node: fx.Node, value: Value, bring: Callable[[Value], Value]) -> Value:
    """Scales that differ along several dimensions, as those of average pools at the border, differ along one when the
    dimensions between are laid in one row.
    """
    shape = builder.shape(value)
    parts = [value.offset, *(term.scale for term in value.terms)]
    varying = [axis for axis in range(len(shape)) if any(part.shape[axis] > 1 for part in parts)]
    first, last = varying[0], varying[-1] + 1
    row = (*shape[:first], math.prod(shape[first:last]), *shape[last:])
    return builder.moved(node, bring(builder.moved(node, value, "reshape", row, row)), "reshape", shape, shape)


def _on_grid(builder: Builder, tensor: str, grid: ActivationGrid) -> Value:
    ones = [1] * len(builder.facts(tensor).shape)
    scale, offset = np.full(ones, grid.scale), np.full(ones, grid.offset)
    return Value((Term(tensor, scale, grid.zero_point),), offset)


def _limits(grid: ActivationGrid, clamp: tuple[float, float]) -> tuple[int, int]:
    """Rounding keeps order, so that clipping codes is clipping values."""
    low, high = (
        limit if math.isinf(bound) else int(grid.codes(np.array([bound], np.float32))[0])
        for limit, bound in zip((grid.low, grid.high), clamp, strict=True)
    )
    return low, high


def requantized(
    builder: Builder,
    node: fx.Node,
    terms: Sequence[Term],
    constant: Doubles,
    scale: float,
    zero: int,
    low: int,
    high: int,
) -> str:
    """clip(round(sum of terms / scale + constant) + zero, low, high); the name of the result."""
    factors = [term.scale / scale for term in terms]
    axis = shared_axis(*factors, constant)
    if axis is None:
        raise no_integer_form(node, "scales differ along two dimensions", "quantize the tensors before they meet")
    channels = max(part.size for part in (*factors, constant))
    rows = np.stack([np.broadcast_to(part.reshape(-1), channels) for part in factors])
    added = np.broadcast_to(constant.reshape(-1), channels)
    shape = builder.facts(terms[0].tensor).shape
    largest = np.array([_largest(builder, term) for term in terms], np.float64)
    names = tuple(term.tensor for term in terms)
    operation = Requantize(
        names,
        builder.name(node, "requantized"),
        node.name,
        zeros=tuple(term.zero for term in terms),
        zero=zero,
        low=low,
        high=high,
        axis=axis,
    )
    if builder.program.rounding == "dyadic":
        operation = replace(operation, dyadic=dyadic(rows, added, largest))
    else:
        operation = _with_fixed_point(operation, rows, added, largest)
    return builder.add(operation, shape, low, high)


def _largest(builder: Builder, term: Term) -> int:
    facts = builder.facts(term.tensor)
    return max(abs(facts.low - term.zero), abs(facts.high - term.zero), 1)


def _with_fixed_point(operation: Requantize, factors: Doubles, constant: Doubles, largest: Doubles) -> Requantize:
    """Several inputs as TensorFlow Lite adds them: to a common finer scale, then the sum to the grid."""
    free = HEADROOM_BITS - int(np.ceil(np.log2(largest.max() + 1)))
    if len(factors) == 1 and not constant.any():
        return replace(operation, fixed_point=(fixed_point(factors[0]),))
    shift = max(free - 2, 0)
    common = 2 * np.abs(factors).max(0)  # each branch at most halves, so that the sum of two fits
    added = np.rint(constant / factors[0] * 2.0**shift).astype(np.int64)
    branches = tuple(fixed_point(row / common) for row in factors)
    return replace(
        operation,
        fixed_point=branches,
        constant=added,
        join_shift=shift,
        join=fixed_point(common * 2.0**-shift),
    )


def _by_thresholds(builder: Builder, node: fx.Node, value: Value, grid: ActivationGrid) -> str:
    """The code follows from how many thresholds an integer has reached; a clamp only merges codes."""
    value = one_positive_term(builder, node, value)
    term = value.terms[0]
    axis = shared_axis(term.scale, value.offset)
    if axis is None:
        raise no_integer_form(node, "scales differ along two dimensions", "quantize the tensors before they meet")
    channels = max(term.scale.size, value.offset.size)
    scale, offset = (np.broadcast_to(part.reshape(-1), channels)[:, None] for part in (term.scale, value.offset))
    if grid.thresholds:
        steps = (np.array(grid.thresholds)[None] - offset) / scale
        thresholds = np.ceil(steps)
    else:
        thresholds = _rounding_thresholds(grid, scale, offset)
    limits = np.clip(thresholds + term.zero, -(2.0**31), 2.0**31).astype(np.int64)
    table = np.array(grid.levels or range(grid.low, grid.high + 1), np.int32)
    low, high = _limits(grid, value.clamp)
    operation = Threshold(
        (term.tensor,),
        builder.name(node, "threshold"),
        node.name,
        thresholds=limits,
        table=np.clip(table, low, high),
        axis=axis,
    )
    return builder.add(operation, builder.facts(term.tensor).shape, max(low, int(table[0])), min(high, int(table[-1])))


def _rounding_thresholds(grid: ActivationGrid, scale: Doubles, offset: Doubles) -> Doubles:
    """The smallest integer that each code but the lowest is given to."""
    if grid.levels:
        raise ValueError("a grid of chosen levels needs thresholds")
    codes = np.arange(grid.low, grid.high)[None] - grid.zero_point
    if grid.rounding == "up":  # ceil(v) > k exactly where v > k
        edges = (codes * grid.scale + grid.offset - offset) / scale
        return np.floor(edges) + 1
    edges = ((codes + 0.5) * grid.scale + grid.offset - offset) / scale
    return np.ceil(edges)


def one_positive_term(builder: Builder, node: fx.Node, value: Value) -> Value:
    """The same value as one tensor whose scales are positive; what is pending stays so."""
    if len(value.terms) > 1:
        return replace(finely(builder, node, replace(value, clamp=UNBOUNDED)), clamp=value.clamp)
    term = value.terms[0]
    if (term.scale > 0).all():
        return value
    return replace(value, terms=(_negated_where_negative(builder, node, term),))


def finely(builder: Builder, node: fx.Node, value: Value, largest: int = FINEST) -> Value:
    """The value, its clamp applied, as one tensor with one scale and no offset: as fine as integers up to `largest`
    can be. No function may be pending.
    """
    if shared_axis(*(term.scale for term in value.terms), value.offset) is None:
        return _as_one_row(builder, node, value, lambda row: finely(builder, node, row, largest))
    low, high = np.clip(_reach(builder, value), *value.clamp)
    coarsest = max(float(np.abs(term.scale).max()) for term in value.terms)
    step = max(abs(low), abs(high)) / largest
    step = max(float(step), coarsest / FINEST) or 1.0  # factors stay under 32 bits
    limits = (int(np.rint(bound / step)) for bound in (low, high))
    tensor = requantized(builder, node, value.terms, value.offset / step, step, 0, *limits)
    ones = [1] * len(builder.facts(tensor).shape)
    return Value((Term(tensor, np.full(ones, step)),), np.zeros(ones))


def _reach(builder: Builder, value: Value) -> tuple[float, float]:
    """Real limits that no input can make the terms leave, over all channels."""
    ends = np.stack([value.offset, value.offset])
    for term in value.terms:
        facts = builder.facts(term.tensor)
        reached = np.stack([term.scale * (facts.low - term.zero), term.scale * (facts.high - term.zero)])
        ends = ends + np.stack([reached.min(0), reached.max(0)])
    return float(ends[0].min()), float(ends[1].max())


def _negated_where_negative(builder: Builder, node: fx.Node, term: Term) -> Term:
    facts = builder.facts(term.tensor)
    sign: Integers = np.where(term.scale < 0, -1, 1).reshape(-1).astype(np.int64)
    # real = scale (x - zero) = |scale| (sign x - sign zero); all get the zero 0
    operation = Scale(
        (term.tensor,),
        builder.name(node, "positive"),
        node.name,
        factor=sign,
        addend=-sign * term.zero,
        axis=varying_axis(term.scale),
    )
    reach = max(abs(facts.low - term.zero), abs(facts.high - term.zero))
    tensor = builder.add(operation, facts.shape, -reach, reach)
    return Term(tensor, np.abs(term.scale))


def _through_table(builder: Builder, node: fx.Node, value: Value, grid: ActivationGrid) -> str:
    """The argument on a grid FINER times as fine as the result's, then a table of codes; constant ends are cut off."""
    step, low, entries = _table(builder, value, grid)
    argument = requantized(builder, node, value.terms, value.offset / step, step, 0, low, low + entries.shape[1] - 1)
    name = builder.name(node, "table")
    operation = Lookup((argument,), name, node.name, low=low, table=entries)
    return builder.add(operation, builder.facts(argument).shape, int(entries.min()), int(entries.max()))


def _table(
    builder: Builder, value: Value, grid: ActivationGrid
) -> tuple[float, int, np.ndarray[tuple[int, ...], np.dtype[np.int32]]]:
    """Argument's step, first index, and the codes [1, entries], over all arguments that can occur.

    A steeper function than the identity gets finer arguments, as far as the entries allow.
    """
    low, high = _reach(builder, value)
    step = max(grid.scale / FINER, (high - low) / MOST_POSITIONS)
    first, table, slope = _entries(value, grid, low, high, step)
    while len(table) > MOST_ENTRIES:
        step *= 2
        first, table, slope = _entries(value, grid, low, high, step)
    for _ in range(HALVINGS):
        if slope <= grid.scale / FINER * 2 or 2 * len(table) > MOST_ENTRIES or (high - low) / step > MOST_POSITIONS / 2:
            break
        step /= 2
        first, table, slope = _entries(value, grid, low, high, step)
    return step, first, np.ascontiguousarray(table)[None]


def _entries(
    value: Value, grid: ActivationGrid, low: float, high: float, step: float
) -> tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.int32]], float]:
    """First index, codes without the constant ends, and the largest distance of two neighbours' values."""
    start = math.floor(low / step)
    reals = value.apply(np.arange(start, math.ceil(high / step) + 2, dtype=np.float64) * step)
    codes = grid.codes(reals.astype(np.float32))
    changes = np.flatnonzero(np.diff(codes))
    if len(changes) == 0:
        return start, codes[:1], 0.0
    first, last = int(changes[0]), int(changes[-1]) + 1
    return start + first, codes[first : last + 1], float(np.abs(np.diff(reals[first : last + 1])).max())


def materialised(builder: Builder, node: fx.Node, value: Value, step: float) -> Value:
    """On a signed 16-bit grid of that step, nothing pending: for what cannot carry functions along."""
    grid = ActivationGrid(scale=float(np.float32(step)), low=-(2**15), high=2**15 - 1)
    return to_grid(builder, node, value, grid)
