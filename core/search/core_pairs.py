"""The few pairs of widths that an optimum can be made of; the solver is given only these.

The multipliers of the linear relaxation give every pair an excess: how much the Lagrangian of any choice that takes it
exceeds the least one (Everett, 1963). A choice within the limits that loses at most as much as a known one has no pair
whose excess is above slack = known loss + sum_k p_k * bound_k - least Lagrangian. So the programme is solved over the
pairs of least excess (the core; Balas and Zemel, "An Algorithm for Large Zero-One Knapsack Problems", 1980), and when
the slack that follows is no wider than the core was, nothing was left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.hardware.kind import FloatArray
from core.search.highs import Solution, solve
from core.search.programme import Limit, Programme

PAIRS_PER_LAYER = 4  # of the first core
WIDENING = 4.0
ROUNDING = 1e-9  # relative, of sums of floating point numbers


def solve_over_core(
    programme: Programme, limits: tuple[Limit, ...], multipliers: FloatArray, time_limit_s: float
) -> Solution | None:
    """The least loss within all limits; None where there is nothing. `multipliers` [K]: any values >= 0 are valid."""
    excess, least = _excesses(programme, limits, multipliers)
    ranked = np.sort(excess[np.isfinite(excess)])  # a pair that ties exclude is in no choice
    width, widest = ranked[min(PAIRS_PER_LAYER * len(excess), len(ranked) - 1)], ranked[-1]
    while True:
        core = replace(programme, allowed=programme.allowed & (excess <= width))
        found = solve(core, core.layer_loss, limits, time_limit_s)
        if width >= widest:
            return found
        wider = max(width, 1.0) * WIDENING
        if found is not None:
            slack = (programme.objective(found.choice) - least) * (1 + ROUNDING) + 1
            if slack <= width:
                return found
            wider = min(slack, wider)
        width = min(wider, widest)


def _excesses(programme: Programme, limits: tuple[Limit, ...], multipliers: FloatArray) -> tuple[FloatArray, float]:
    """[L, W, A], infinite where a pair is not allowed; and a loss that no choice within the limits falls below."""
    priced = programme.layer_loss + sum(p * limit.costs for p, limit in zip(multipliers, limits, strict=True))
    lagrangian = np.where(programme.allowed, priced, np.inf)
    excess = np.full(lagrangian.shape, np.inf)
    least = -sum(float(p) * limit.bound for p, limit in zip(multipliers, limits, strict=True))
    for group in programme.groups:
        members = list(group)
        cheapest = lagrangian[members].min(axis=1)  # members, A
        floor = cheapest.sum(axis=0)
        least += float(floor.min())
        with np.errstate(invalid="ignore"):
            excess[members] = lagrangian[members] - cheapest[:, None, :] + (floor - floor.min())
    return np.where(programme.allowed & ~np.isnan(excess), excess, np.inf), least
