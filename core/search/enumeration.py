"""A proof in integers: every choice that could be as good as a known one is enumerated.

For multipliers p_k >= 0 the excess of a choice is how much its Lagrangian, loss + sum_k p_k * cost_k, exceeds the least
one, layer by layer. A choice within the limits whose loss is at most the known loss has an excess of at most

    slack = known loss + sum_k p_k * bound_k - (least Lagrangian)

(Everett, "Generalized Lagrange Multiplier Method", 1963). The multipliers of the linear relaxation make the slack so
small that few pairs of widths per layer remain; the rest is a dynamic programme over groups of tied layers that keeps
undominated partial sums. It yields the optimum, and among equals one of least cost on the axis, the first limit.
Multipliers are rounded to integers over 2^shift, which keeps the bound valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.hardware.kind import FloatArray, IntArray
from core.search.programme import Choice, Limit, Programme

MAX_STATES = 200_000
MAX_STATES_SEVERAL_LIMITS = 5_000  # beyond it, giving up early is quicker than going on
MAX_PRODUCT = 20_000_000
CHAMPIONS = 256  # states of least loss that others are compared to; comparing fewer keeps more states, no more
CHAMPION_BLOCK = 64
MAX_SHIFT = 24


@dataclass(frozen=True)
class Proof:
    """The best of all choices, and how many partial sums were looked at."""

    choice: Choice
    states: int


@dataclass(frozen=True)
class _States:
    """N partial sums: `excess` [N], `sums` [N, 1 + K] (loss, then each limit's cost), `picks` [N, layers so far].

    They stand in lexicographic order of their picks, so that the first of equals is always the same.
    """

    excess: IntArray
    sums: IntArray
    picks: IntArray

    def only(self, kept: NDArray[Any]) -> _States:
        """Some of them."""
        return _States(self.excess[kept], self.sums[kept], self.picks[kept])

    def joined(self, other: _States) -> _States:
        """Both, one after the other."""
        pairs = ((self.excess, other.excess), (self.sums, other.sums), (self.picks, other.picks))
        return _States(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class _Rest:
    """The least and the greatest that the groups still to come can add to each sum, [1 + K]."""

    least: IntArray
    greatest: IntArray


class _TooMany(Exception):
    """More partial sums than the proof may hold."""


def prove(
    programme: Programme,
    limits: tuple[Limit, ...],
    multipliers: FloatArray,
    known: Choice,
    max_states: int | None = None,
) -> Proof | None:
    """The optimum, at least as good as `known`; None where more than `max_states` partial sums would be needed.

    `multipliers` [K] are in units of loss per unit of each limit's cost; any values >= 0 are valid.
    """
    if max_states is None:
        max_states = MAX_STATES if len(limits) == 1 else MAX_STATES_SEVERAL_LIMITS
    scaled = _scaled(programme, limits, multipliers)
    if scaled is None:
        return None
    try:
        return _Enumeration(programme, limits, scaled, known, max_states).run()
    except _TooMany:
        return None


@dataclass(frozen=True)
class _Scaled:
    """The Lagrangian [L, W, A], the multipliers as integers, both in units of 2^-shift."""

    lagrangian: IntArray
    weights: list[int]
    shift: int


def _scaled(programme: Programme, limits: tuple[Limit, ...], multipliers: FloatArray) -> _Scaled | None:
    """None where 63 bits cannot hold the sums."""
    costs = [np.where(programme.allowed, limit.costs, 0) for limit in limits]
    greatest = [max(_greatest_sum(cost), limit.bound) for cost, limit in zip(costs, limits, strict=True)]
    loss = _greatest_sum(programme.layer_loss)
    for shift in range(MAX_SHIFT, 0, -1):
        weights = [round(float(multiplier) * 2**shift) for multiplier in multipliers]
        if (loss << shift) + sum(w * most for w, most in zip(weights, greatest, strict=True)) < 2**61:
            priced = sum((w * cost for w, cost in zip(weights, costs, strict=True)), programme.layer_loss << shift)
            return _Scaled(priced, weights, shift)
    return None


def _greatest_sum(costs: IntArray) -> int:
    return int(costs.max(axis=(1, 2)).sum())


class _Enumeration:
    def __init__(
        self, programme: Programme, limits: tuple[Limit, ...], scaled: _Scaled, known: Choice, max_states: int
    ) -> None:
        self.programme, self.max_states, self.seen = programme, max_states, 0
        self.tables = np.stack([programme.layer_loss, *(limit.costs for limit in limits)], axis=-1)
        self.bounds = np.array([programme.objective(known), *(limit.bound for limit in limits)], dtype=np.int64)
        self.lagrangian = np.where(programme.allowed, scaled.lagrangian, 2**61 // len(programme.allowed))
        self.least = [int(self._floor(group).min()) for group in programme.groups]
        worth = sum(w * limit.bound for w, limit in zip(scaled.weights, limits, strict=True))
        self.slack = (int(self.bounds[0]) << scaled.shift) + worth - sum(self.least)

    def run(self) -> Proof | None:
        """Groups one after another, those with the fewest options first."""
        groups = self.programme.groups
        items = [self._options(group, least) for group, least in zip(groups, self.least, strict=True)]
        order = sorted(range(len(items)), key=lambda position: len(items[position].excess))
        if not all(len(item.excess) for item in items):
            return None
        lowest, highest = (
            np.array([end(items[position].sums, axis=0) for position in order]) for end in (np.min, np.max)
        )
        states = self._start(0)
        for step, position in enumerate(order):
            rest = _Rest(lowest[step + 1 :].sum(axis=0), highest[step + 1 :].sum(axis=0))
            states = self._grown(states, items[position], rest)
        return self._best(states, [layer for position in order for layer in groups[position]])

    def _start(self, excess: int) -> _States:
        no_picks = np.zeros((1, 0), dtype=np.int64)
        return _States(np.array([excess]), np.zeros((1, len(self.bounds)), dtype=np.int64), no_picks)

    def _floor(self, group: tuple[int, ...]) -> IntArray:
        """The least Lagrangian of a group at each activation width, [A]."""
        floor: IntArray = self.lagrangian[list(group)].min(axis=1).sum(axis=0)
        return floor

    def _options(self, group: tuple[int, ...], least: int) -> _States:
        """For each activation width of a group, the combinations of its layers' weight widths."""
        floor = self._floor(group) - least
        options = self._start(0).only(np.zeros(0, dtype=np.intp))
        options = _States(options.excess, options.sums, np.zeros((0, len(group)), dtype=np.int64))
        for a in np.flatnonzero(floor <= self.slack).tolist():
            states = self._start(int(floor[a]))
            for layer in group:
                states = self._grown(states, self._widths(layer, a), _Rest(self.bounds * 0, self.bounds))
            options = options.joined(states)
        return options.only(undominated(options.sums))

    def _widths(self, layer: int, a: int) -> _States:
        """The allowed weight widths of one layer at one activation width."""
        w = np.flatnonzero(self.programme.allowed[layer, :, a])
        lagrangian = self.lagrangian[layer, w, a]
        picks = w * self.programme.allowed.shape[2] + a
        return _States(lagrangian - lagrangian.min(initial=2**61), self.tables[layer, w, a], picks[:, None])

    def _grown(self, states: _States, options: _States, rest: _Rest) -> _States:
        """Every state with every option, but for those that cannot end within the slack and the bounds.

        Costs so low that no rest can break their bound are as good as each other, but for the axis' (column 1).
        """
        if len(states.excess) * len(options.excess) > MAX_PRODUCT:
            raise _TooMany
        excess = states.excess[:, None] + options.excess[None, :]
        left, right = np.nonzero(excess <= self.slack)
        sums = states.sums[left] + options.sums[right]
        inside = (sums + rest.least <= self.bounds).all(axis=1)
        left, right, sums = left[inside], right[inside], sums[inside]
        picks = np.concatenate([states.picks[left], options.picks[right]], axis=1)
        compared = np.concatenate([sums[:, :2], np.maximum(sums, self.bounds - rest.greatest)[:, 2:]], axis=1)
        grown = _States(excess[left, right], sums, picks).only(undominated(compared))
        self.seen += len(grown.excess)
        if len(grown.excess) > self.max_states:
            raise _TooMany
        return grown

    def _best(self, states: _States, layers: list[int]) -> Proof | None:
        if not len(states.excess):
            return None
        best = int(np.lexsort((states.sums[:, 1], states.sums[:, 0]))[0])
        picks = np.empty(len(layers), dtype=np.int64)
        picks[layers] = states.picks[best]
        w, a = np.divmod(picks, self.programme.allowed.shape[2])
        return Proof(Choice(w, a), self.seen)


def undominated(sums: IntArray) -> NDArray[np.intp]:
    """Positions, rising, of rows that no other row undercuts or equals in every column; of equals, the first.

    With more than two columns some dominated rows may stay.
    """
    order = np.lexsort(sums.T[::-1])
    if sums.shape[1] == 2:
        second = sums[order, 1]
        before = np.concatenate([[np.iinfo(np.int64).max], np.minimum.accumulate(second)[:-1]])
        return np.sort(order[second < before])
    ranked = sums[order]
    distinct = np.ones(len(ranked), dtype=bool)
    distinct[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    order, ranked = order[distinct], ranked[distinct]
    for start in range(0, min(len(ranked), CHAMPIONS), CHAMPION_BLOCK):
        kept = ~_beaten(ranked, ranked[start : start + CHAMPION_BLOCK])
        order, ranked = order[kept], ranked[kept]
    return np.sort(order)


def _beaten(rows: IntArray, champions: IntArray) -> NDArray[np.bool_]:
    """Which of the distinct rows some champion undercuts or equals in every column, other than itself."""
    beats = np.ones((len(rows), len(champions)), dtype=bool)
    same = np.ones_like(beats)
    for row, champion in zip(rows.T, champions.T, strict=True):
        beats &= champion[None, :] <= row[:, None]
        same &= champion[None, :] == row[:, None]
    return np.asarray((beats & ~same).any(axis=1))
