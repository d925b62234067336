"""HAQ's budget walk: policies that cost too much lose bits, from the last layer to the first, until they fit.

Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019,
https://arxiv.org/abs/1811.08886, as its code does it: in each layer the activations lose one bit, then the weights, and
after every bit the budget is looked at; where one pass over the layers is not enough, there is another.

What is ours: any number of limits; a tensor that several layers read loses its bit once, at the last of them; "one bit"
is the next lower width that is allowed (where a pair is not allowed, the weights follow the activations down); and what
no walk can bring within the limits becomes a policy that is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.hardware.kind import IntArray
from core.search.programme import Choice, Limit, Programme


@dataclass(frozen=True)
class _Pass:
    """What one pass would do to N policies, each [N, L]: activations lose a bit (`w_kept` are weights that this still
    allows), then weights."""

    a: IntArray
    w_kept: IntArray
    w: IntArray


class BudgetWalk:
    """The walk for one programme and one set of limits. `otherwise` is a policy within them."""

    def __init__(self, programme: Programme, limits: tuple[Limit, ...], otherwise: Choice) -> None:
        self._programme, self._otherwise = programme, otherwise
        self._layers = np.arange(len(programme.allowed))
        self._costs = np.stack([limit.costs for limit in limits], axis=-1)  # L, W, A, K
        self._bounds = np.array([limit.bound for limit in limits], dtype=np.int64)
        self._group = np.zeros(len(self._layers), dtype=np.int64)
        for position, group in enumerate(programme.groups):
            self._group[list(group)] = position
        self._last = np.array([max(group) for group in programme.groups])
        self._at_most = _greatest_at_most(programme.allowed)

    def within(self, w: IntArray, a: IntArray) -> tuple[IntArray, IntArray]:
        """Positions [N, L] of allowed policies, each within the limits; those that already were are unchanged."""
        w, a = w.astype(np.int64), a.astype(np.int64)
        over = np.flatnonzero(~self.holds(w, a))
        while len(over):
            new_w, new_a, fits = self._one_pass(w[over], a[over])
            stuck = ~fits & (new_w == w[over]).all(axis=1) & (new_a == a[over]).all(axis=1)
            new_w[stuck], new_a[stuck] = self._otherwise.w, self._otherwise.a
            w[over], a[over] = new_w, new_a
            over = over[~(fits | stuck)]
        return w, a

    def holds(self, w: IntArray, a: IntArray) -> NDArray[np.bool_]:
        """[N], whether each of them is within the limits."""
        return np.asarray((self._sums(w, a) <= self._bounds).all(axis=1))

    def _sums(self, w: IntArray, a: IntArray) -> IntArray:
        sums: IntArray = self._costs[self._layers, w, a].sum(axis=1)
        return sums

    def _one_pass(self, w: IntArray, a: IntArray) -> tuple[IntArray, IntArray, NDArray[np.bool_]]:
        """Up to the first bit after which the limits hold, or all of it; and whether they do."""
        lowered = self._lowered(w, a)
        now, narrower, narrowest = (
            self._costs[self._layers, *pair] for pair in ((w, a), (lowered.w_kept, lowered.a), (lowered.w, lowered.a))
        )
        of_tensors = np.zeros_like(now)
        for position, group in enumerate(self._programme.groups):
            of_tensors[:, self._last[position]] = (narrower - now)[:, list(group)].sum(axis=1)
        steps = np.stack([of_tensors, narrowest - narrower], axis=2)[:, ::-1]  # N, L from the last on, 2, K
        after = now.sum(axis=1)[:, None] + steps.reshape(len(w), -1, len(self._bounds)).cumsum(axis=1)
        fitting = (after <= self._bounds).all(axis=2)
        fits = fitting.any(axis=1)
        taken = np.where(fits, fitting.argmax(axis=1), fitting.shape[1])[:, None]
        turn = 2 * (len(self._layers) - 1 - self._layers)  # when the activations of a layer have theirs
        a_done = taken >= turn[self._last][self._group]
        w_done = taken >= turn + 1
        w = np.where(w_done, lowered.w, np.where(a_done, lowered.w_kept, w))
        return w, np.where(a_done, lowered.a, a), fits

    def _lowered(self, w: IntArray, a: IntArray) -> _Pass:
        open_ = self._at_most[self._layers, w] >= 0  # N, L, A
        widths = np.arange(open_.shape[2])
        lower = open_ & (widths < a[:, :, None])
        tied = np.stack([lower[:, list(group)].all(axis=1) for group in self._programme.groups], axis=1)  # N, G, A
        highest = np.where(tied, widths, -1).max(axis=2)[:, self._group]
        new_a = np.where(highest >= 0, highest, a)
        w_kept = self._at_most[self._layers, w, new_a]
        below = np.where(w_kept > 0, self._at_most[self._layers, w_kept - 1, new_a], -1)
        return _Pass(new_a, w_kept, np.where(below >= 0, below, w_kept))


def _greatest_at_most(allowed: NDArray[np.bool_]) -> IntArray:
    """[L, W, A]: the greatest weight width up to this one that goes with these activations, -1 where there is none."""
    positions = np.where(allowed, np.arange(allowed.shape[1])[:, None], -1)
    greatest: IntArray = np.maximum.accumulate(positions, axis=1)
    return greatest
