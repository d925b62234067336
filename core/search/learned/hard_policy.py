"""From what a training prefers to a policy within its budget.

Published searches round each width by itself, and the sum lands where it lands. Here one integer programme finds the
policy that departs least from what training ended with, within every limit, and uses up its budget to `USED` where
some policy does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from core.hardware.kind import FloatArray
from core.search.highs import Solution, solve
from core.search.infeasible import infeasible
from core.search.problem import SearchProblem
from core.search.programme import Choice, Limit, Programme, programme

USED = 0.985  # of the budget, at least
TIME_LIMIT_S = 20.0


@dataclass(frozen=True)
class Wishes:
    """What training thinks of each width, less is better: `weights` [U, W], `activations` [G, A], finite."""

    weights: FloatArray
    activations: FloatArray


def closest(problem: SearchProblem, wishes: Wishes, budget: int) -> Choice:
    """The allowed choice within the budget and every limit with the least sum of wishes; raises Infeasible."""
    limits = problem.limits_within(budget)
    wished = programme(
        wishes.weights - wishes.weights.min(axis=1, keepdims=True),
        wishes.activations - wishes.activations.min(axis=1, keepdims=True),
        problem.programme.groups,
        problem.programme.allowed,
    )
    found = _least(wished, (*limits, _at_least(wished, limits[0], ceil(USED * budget)))) or _least(wished, limits)
    if found is None:
        raise infeasible(problem)
    return found.choice


def _least(wished: Programme, limits: tuple[Limit, ...]) -> Solution | None:
    return solve(wished, wished.layer_loss, limits, TIME_LIMIT_S)


def _at_least(wished: Programme, limit: Limit, least: int) -> Limit:
    """The same costs from below, as what is left over: every layer's greatest cost less its own."""
    greatest = np.where(wished.allowed, limit.costs, 0).max(axis=(1, 2))
    left = greatest[:, None, None] - limit.costs
    return Limit(f"use of {limit.name}", np.where(wished.allowed, left, 0), int(greatest.sum()) - least)


def widest(wished: Programme) -> Choice:
    """The widest allowed activations of every group, and the widest weights that go with them."""
    w, a = (np.zeros(len(wished.allowed), dtype=np.int64) for _ in range(2))
    for group in wished.groups:
        members = list(group)
        a[members] = np.flatnonzero(wished.allowed[members].any(axis=1).all(axis=0)).max()
    for layer, width in enumerate(a):
        w[layer] = np.flatnonzero(wished.allowed[layer, :, width]).max()
    return Choice(w, a)
