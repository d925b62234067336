"""What less or more of a limit would cost: the least loss at budgets around a policy's own cost, each with its proof.

Where the limits are on one cost alone, the answers are read off its whole front (core/search/whole_front.py), which is
made once; else each is an integer programme of its own (core/search/exact.py), cut off after a second with its gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from core.policy import Policy
from core.search.exact import optimum
from core.search.explained import BudgetAnswer, WhatIf
from core.search.explanation import ExplainedPolicy
from core.search.metrics import Metric
from core.search.problem import SearchProblem
from core.search.programme import Limit
from core.search.shadow_prices import budget_count
from core.search.whole_front import WholeFront, whole_front

PERCENTAGES = (-20, -15, -10, -5, 5, 10, 15, 20)
FRONT_EPSILON = 5e-3
TIME_LIMIT_S = 0.5

Found = tuple[int, int, int]  # cost on the metric in counts, loss and what no policy falls below in units of the loss


def front_alone(problem: SearchProblem) -> WholeFront | None:
    """The whole front along the axis, where no limit is on another cost."""
    if any(each.metric != problem.axis for each in problem.constraints):
        return None
    return whole_front(problem.programme, problem.counted[problem.axis].values, FRONT_EPSILON)


def around(
    problem: SearchProblem,
    policy: Policy,
    budget: float | None,
    front: WholeFront | None,
    percentages: Sequence[int] = PERCENTAGES,
) -> tuple[WhatIf, ...]:
    """Of any policy; none where its loss is unknown. `budget` on the axis, in its unit, as in an explanation."""
    loss = problem.losses.of_policy(problem.layers, policy)
    if loss is None:
        return ()
    totals = ExplainedPolicy(problem, policy).totals
    used = {metric: floor(count * (1 + 1e-12)) for metric, count in totals.items()}
    loss_units = round(loss / problem.programme.loss_unit)
    return what_if(problem, used, budget_count(problem, used, budget), loss_units, front, percentages)


def what_if(
    problem: SearchProblem,
    used: Mapping[Metric, int],
    budget: int,
    loss_units: int,
    front: WholeFront | None,
    percentages: Sequence[int] = PERCENTAGES,
) -> tuple[WhatIf, ...]:
    """For the axis and every other metric that is limited. `used`: counts of the policy; `budget`: on the axis, the
    point's own; `front`: what `front_alone` answered.
    """
    metrics = dict.fromkeys([problem.axis, *(each.metric for each in problem.constraints)])
    asking = _Asking(problem, budget, front)
    return tuple(_of_metric(asking, metric, used[metric], loss_units, sorted(percentages)) for metric in metrics)


@dataclass(frozen=True)
class _Asking:
    problem: SearchProblem
    budget: int
    front: WholeFront | None


def _of_metric(asking: _Asking, metric: Metric, used: int, loss_units: int, percentages: Sequence[int]) -> WhatIf:
    problem = asking.problem
    caps = [each.bound for each in problem.constraints if each.metric == metric]
    asked = [floor(used * (100 + percent) / 100) for percent in percentages]
    bounds = [min([each, *caps]) for each in asked]
    found = _least_at(asking, metric, bounds)
    return WhatIf(
        metric=metric.name,
        target=metric.target,
        is_axis=metric == problem.axis,
        now=problem.counted[metric].amount(used),
        loss=loss_units * problem.programme.loss_unit,
        proof="an integer programme each" if asking.front is None else "the whole front, by dynamic programming",
        answers=tuple(
            _answer(problem, metric, percent, bound, loss_units, answer, capped=bound < wanted)
            for percent, bound, wanted, answer in zip(percentages, bounds, asked, found, strict=True)
        ),
    )


def _answer(
    problem: SearchProblem,
    metric: Metric,
    percent: int,
    bound: int,
    loss_units: int,
    found: Found | None,
    *,
    capped: bool,
) -> BudgetAnswer:
    unit, counted = problem.programme.loss_unit, problem.counted[metric]
    return BudgetAnswer(
        percent=percent,
        bound=counted.amount(bound),
        used=None if found is None else counted.amount(found[0]),
        loss=None if found is None else found[1] * unit,
        change=None if found is None else (found[1] - loss_units) * unit,
        gap=None if found is None else (found[1] - found[2]) * unit,
        capped=capped,
    )


def _least_at(asking: _Asking, metric: Metric, bounds: Sequence[int]) -> list[Found | None]:
    """The least loss within each of rising bounds. An optimum that costs less than a tighter bound is its optimum too,
    and where nothing is within a bound, nothing is within a tighter one.
    """
    found: list[Found | None] = []
    for bound in reversed(bounds):
        last = found[-1] if found else None
        settled = bool(found) and (last is None or last[0] <= bound)
        found.append(last if settled else _least(asking, metric, bound))
    return found[::-1]


def _least(asking: _Asking, metric: Metric, bound: int) -> Found | None:
    problem, front = asking.problem, asking.front
    if front is not None:
        position = int(np.searchsorted(front.cost, bound, side="right")) - 1
        return None if position < 0 else (
            int(front.cost[position]), int(front.loss[position]), int(front.bound[position])
        )  # fmt: skip
    found = optimum(problem.programme, _limits(problem, metric, bound, asking.budget), TIME_LIMIT_S)
    if found is None:
        return None
    return problem.programme.total(problem.counted[metric].values, found.choice), found.objective, found.bound


def _limits(problem: SearchProblem, metric: Metric, bound: int, budget: int) -> tuple[Limit, ...]:
    """The point's limits, with another bound on one metric; the axis first."""
    limits = problem.limits_within(bound if metric == problem.axis else budget)
    if metric == problem.axis:
        return limits
    return tuple(Limit(each.name, each.costs, bound) if each.name == str(metric) else each for each in limits)
