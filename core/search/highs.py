"""The integer programme solved by HiGHS (Huangfu and Hall, 2018, https://highs.dev), with a gap of zero.

HiGHS computes in floating point; whoever calls checks its answer in integers. Numbers are scaled to some 2^20, so that
one unit of loss or cost stands clear of HiGHS' tolerances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from core.errors import TaskFailed
from core.hardware.kind import FloatArray, IntArray
from core.search.programme import Choice, Limit, Programme

SCALE = 2**20
HALF_A_UNIT = 0.5
TIGHTENINGS = 8
SOLVED, OUT_OF_TIME, INFEASIBLE = 0, 1, 2  # scipy.optimize.milp


@dataclass(frozen=True)
class Solution:
    """An optimum. `bound`: no choice within the limits has a smaller sum, as HiGHS proves it."""

    choice: Choice
    bound: int


def solve(
    programme: Programme, minimised: IntArray, limits: tuple[Limit, ...], time_limit_s: float = math.inf
) -> Solution | None:
    """The least sum of `minimised` [L, W, A]; None where nothing is within the limits.

    Where the time ends first, the best that was found, with the bound that was reached.
    """
    bound, tightened = None, limits
    for _ in range(TIGHTENINGS):
        found = _solve_once(programme, minimised, tightened, time_limit_s)
        if found is None:
            return None
        bound = found.bound if bound is None else bound  # the widest programme's bound holds for all
        if programme.holds(found.choice, limits):
            return Solution(found.choice, bound)
        pairs = zip(tightened, limits, strict=True)
        tightened = tuple(_tightened(programme, found.choice, limit, stated.bound) for limit, stated in pairs)
    raise TaskFailed("the solver's answers break a limit by rounding", hint="state the limit in a coarser unit")


def _tightened(programme: Programme, choice: Choice, limit: Limit, stated_bound: int) -> Limit:
    excess = programme.total(limit.costs, choice) - stated_bound
    return Limit(limit.name, limit.costs, limit.bound - max(0, excess))


def _solve_once(
    programme: Programme, minimised: IntArray, limits: tuple[Limit, ...], time_limit_s: float
) -> Solution | None:
    model = Relaxation(programme, minimised, limits)
    result = milp(
        model.cost,
        constraints=model.constraints,
        integrality=np.ones(len(model.cost)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0, "time_limit": time_limit_s},
    )
    if result.status == INFEASIBLE:
        return None
    if result.status == OUT_OF_TIME and result.x is None:
        raise TaskFailed(
            f"the solver found nothing within {time_limit_s:g} s", hint="give it more time, or loosen the constraints"
        )
    if result.status not in (SOLVED, OUT_OF_TIME):
        raise TaskFailed(f"the solver stopped without an optimum: {result.message}", hint="allow fewer widths")
    chosen = np.flatnonzero(result.x > HALF_A_UNIT)
    choice = Choice(model.w[chosen].astype(np.int64), model.a[chosen].astype(np.int64))
    return Solution(choice, _whole_bound(result.mip_dual_bound, model.unit, programme.total(minimised, choice)))


def _whole_bound(bound: float, unit: float, reached: int) -> int:
    """The least integer that HiGHS' bound allows; a sum is an integer, so half a unit is rounding."""
    return min(reached, ceil(bound * unit - HALF_A_UNIT))


class Relaxation:
    """The programme as HiGHS sees it: one variable from 0 to 1 for each allowed pair of each layer, scaled."""

    def __init__(self, programme: Programme, minimised: IntArray, limits: tuple[Limit, ...]) -> None:
        self.layer, self.w, self.a = np.nonzero(programme.allowed)
        counts = minimised[self.layer, self.w, self.a]
        self.unit = max(1, int(np.where(programme.allowed, np.abs(minimised), 0).max(axis=(1, 2)).sum())) / SCALE
        self.cost = counts / self.unit
        self.limits = [_Row(limit, limit.costs[self.layer, self.w, self.a]) for limit in limits]
        self.equalities = [_one_pair_per_layer(self.layer, len(programme.allowed))]
        self.equalities += _ties(programme, self.layer, self.a)

    @property
    def constraints(self) -> list[LinearConstraint]:
        """All rows."""
        rows = [LinearConstraint(row.matrix, -np.inf, row.upper) for row in self.limits]
        return [*(LinearConstraint(matrix, value, value) for matrix, value in self.equalities), *rows]

    def multipliers(self) -> FloatArray | None:
        """What one more unit of each limit is worth in units of the minimised sum; None without a solution.

        These are the optimal Lagrange multipliers of the linear relaxation, at least 0.
        """
        rows = [(row.matrix, row.upper) for row in self.limits]
        result = linprog(
            self.cost,
            A_ub=sparse.vstack([matrix for matrix, _ in rows]),
            b_ub=[upper for _, upper in rows],
            A_eq=sparse.vstack([matrix for matrix, _ in self.equalities]),
            b_eq=np.concatenate([np.full(matrix.shape[0], value) for matrix, value in self.equalities]),
            bounds=(0, 1),
            method="highs",
        )
        if result.status != 0:
            return None
        row_units = np.array([row.unit for row in self.limits])
        multipliers: FloatArray = np.maximum(-result.ineqlin.marginals, 0.0) * self.unit / row_units
        return multipliers


class _Row:
    """A limit, scaled. Half a unit is added, so that a choice that meets the bound exactly is not lost to rounding."""

    def __init__(self, limit: Limit, costs: IntArray) -> None:
        self.unit = max(limit.bound, 1) / SCALE
        self.matrix = sparse.csr_matrix(costs[None, :] / self.unit)
        self.upper = (limit.bound + HALF_A_UNIT) / self.unit


def _one_pair_per_layer(layer: IntArray, layers: int) -> tuple[Any, int]:
    columns = np.arange(len(layer))
    return sparse.csr_matrix((np.ones(len(layer)), (layer, columns)), (layers, len(layer))), 1


def _ties(programme: Programme, layer: IntArray, a: IntArray) -> list[tuple[Any, int]]:
    """For each further reader of a tensor and each width: it takes that width exactly when the first reader does."""
    widths = programme.allowed.shape[2]
    pairs = [(group[0], other) for group in programme.groups for other in group[1:]]
    if not pairs:
        return []
    rows, columns, signs = [], [], []
    for row, (first, other) in enumerate(pairs):
        for member, sign in ((first, 1.0), (other, -1.0)):
            mine = np.flatnonzero(layer == member)
            rows.append(row * widths + a[mine])
            columns.append(mine)
            signs.append(np.full(len(mine), sign))
    entries = (np.concatenate(signs), (np.concatenate(rows), np.concatenate(columns)))
    return [(sparse.csr_matrix(entries, (len(pairs) * widths, len(layer))), 0)]
