"""Why nothing meets the constraints, and what could be reached."""

from __future__ import annotations

import numpy as np

from core.errors import Infeasible
from core.search.constraints import BoundConstraint
from core.search.highs import solve
from core.search.problem import SearchProblem
from core.search.programme import Choice

BINDING_LAYERS = 5


def infeasible(problem: SearchProblem) -> Infeasible:
    """The error for a problem that has no solution: a constraint out of reach by itself, or one that others block."""
    for each in problem.constraints:
        choice = problem.programme.cheapest(problem.counted[each.metric].values)
        if _sum(problem, each, choice) > each.bound:
            return _error(problem, each, choice, "")
    for position, each in enumerate(problem.constraints):
        others = tuple(limit for index, limit in enumerate(problem.limits) if index != position)
        found = solve(problem.programme, problem.counted[each.metric].values, others)
        if found is not None:
            return _error(problem, each, found.choice, " while the other constraints hold")
    stated = "; ".join(str(each) for each in problem.constraints)
    return Infeasible(f"the constraints exclude each other: {stated}", hint="drop one of them, or loosen several")


def _sum(problem: SearchProblem, each: BoundConstraint, choice: Choice) -> int:
    return problem.programme.total(problem.counted[each.metric].values, choice)


def _error(problem: SearchProblem, each: BoundConstraint, choice: Choice, condition: str) -> Infeasible:
    smallest = _sum(problem, each, choice)
    layers = _binding_layers(problem, each, choice, smallest)
    names = ", ".join(f"{layer['layer']} ({layer['share']:.0%})" for layer in layers)
    return Infeasible(
        f"{each}: the smallest value that can be reached{condition} is {each.tell(smallest)}; most of it is in {names}",
        hint=f"allow at least {each.tell(smallest)}, allow fewer bits, or unpin layers",
        constraint=str(each),
        metric=each.stated.metric,
        target=each.metric.target,
        unit=each.stated.unit if each.stated.relative_to is None else f"ratio to {each.stated.relative_to}",
        at_most=each.stated.at_most,
        smallest=each.in_unit(smallest),
        smallest_absolute=problem.counted[each.metric].amount(smallest),
        layers=layers,
    )


def _binding_layers(
    problem: SearchProblem, each: BoundConstraint, choice: Choice, total: int
) -> list[dict[str, str | float | bool]]:
    """The layers with the largest shares where the metric is least."""
    values = problem.counted[each.metric].values[np.arange(len(choice.w)), choice.w, choice.a]
    largest = np.argsort(-values, kind="stable")[:BINDING_LAYERS].tolist()
    pinned = {*problem.forced.weights, *problem.forced.activations}
    return [
        {
            "layer": " and ".join(_names(problem, position)),
            "value": each.in_unit(int(values[position])),
            "share": int(values[position]) / max(total, 1),
            "pinned": not pinned.isdisjoint(_names(problem, position)),
        }
        for position in largest
    ]


def _names(problem: SearchProblem, unit: int) -> list[str]:
    return [problem.layers[position].name for position in problem.units[unit]]
