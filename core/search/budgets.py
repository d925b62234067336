"""The budgets along the axis that the points of a search are spread over: every strategy's are the same.

They run from the least cost that can be reached to the cost of the least predicted loss. Neighbouring ones have equal
ratios: what a network loses grows with each halving, not with each microsecond.
"""

from __future__ import annotations

import math

import numpy as np

from core.search.highs import solve
from core.search.infeasible import infeasible
from core.search.problem import SearchProblem
from core.search.programme import Choice


def budgets(problem: SearchProblem) -> list[int]:
    """Rising and different, at most as many as points are asked for; raises Infeasible where there is none."""
    return spread(least_cost(problem), _cost_of_least_loss(problem), problem.points)


def spread(least: int, most: int, points: int) -> list[int]:
    """That many counts from `least` to `most`, fewer where they would be equal; `most` alone for one point."""
    shares = [step / (points - 1) for step in range(points - 1)] if points > 1 else []
    return sorted({*(between(least, most, share) for share in shares), most})


def between(least: int, most: int, share: float) -> int:
    """The count at that share of the way, on a logarithmic scale; `least` itself at 0."""
    if least <= 0:  # a logarithm needs a start
        return min(most, int(most * share))
    return min(most, max(least, int(least * math.pow(most / least, share))))


def greatest_cost(problem: SearchProblem) -> int:
    """A count on the axis that no choice exceeds."""
    costs = np.where(problem.programme.allowed, problem.counted[problem.axis].values, 0)
    return int(costs.max(axis=(1, 2)).sum())


def least_cost(problem: SearchProblem) -> int:
    """The least count on the axis within every constraint; raises Infeasible where nothing is."""
    return problem.programme.total(problem.counted[problem.axis].values, cheapest(problem))


def cheapest(problem: SearchProblem) -> Choice:
    """A choice of the least cost on the axis within every constraint; raises Infeasible where nothing is."""
    axis, programme = problem.counted[problem.axis].values, problem.programme
    found = programme.cheapest(axis)
    if programme.holds(found, problem.limits):
        return found
    solved = solve(programme, axis, problem.limits)
    if solved is None:
        raise infeasible(problem)
    return solved.choice


def _cost_of_least_loss(problem: SearchProblem) -> int:
    """The cost on the axis of a choice within every constraint that loses least; of equals, about the cheapest."""
    axis, programme = problem.counted[problem.axis].values, problem.programme
    found = programme.cheapest(programme.layer_loss)
    if not programme.holds(found, problem.limits):
        solved = solve(programme, programme.layer_loss, problem.limits)
        if solved is None:
            raise infeasible(problem)
        found = solved.choice
    return programme.total(axis, found)
