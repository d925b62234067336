"""What a little more of each limit would be worth: the multipliers of the linear relaxation, in words.

A price is a rate at the limit as it stands, as in HAWQ-V3's programme with its widths allowed to mix; one layer's next
width is a larger step. The exact answers to larger steps are in core/search/what_if.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor

from core.search.explained import LimitPrice
from core.search.highs import Relaxation
from core.search.metrics import UNITS, Metric, exactly
from core.search.problem import SearchProblem

SHOWN_UNITS = {
    "latency": ("s", "ms", "us"),
    "energy": ("J", "mJ", "uJ"),
    "size": ("MB", "kB", "B"),
    "bit-operations": ("GBOP", "1"),
}

UNPRICED = "No policy of the search keeps all limits at this cost: no price is known."


def limit_prices(
    problem: SearchProblem, used: Mapping[Metric, float], budget: float | None
) -> tuple[tuple[LimitPrice, ...], str]:
    """The budget on the axis first, then the constraints; and a note where there is no price."""
    limits = problem.limits_within(budget_count(problem, used, budget))
    multipliers = Relaxation(problem.programme, problem.programme.layer_loss, limits).multipliers()
    note = (
        "" if multipliers is not None else "No policy of the search keeps all limits at this cost: no price is known."
    )
    prices = [0.0] * len(limits) if multipliers is None else multipliers.tolist()
    metrics = [problem.axis, *(each.metric for each in problem.constraints if each.metric != problem.axis)]
    found = [
        _price(problem, metric, limit.bound, used[metric], price * problem.programme.loss_unit)
        for metric, limit, price in zip(dict.fromkeys(metrics), limits, prices, strict=True)
    ]
    return tuple(found), note


def budget_count(problem: SearchProblem, used: Mapping[Metric, float], budget: float | None) -> int:
    """A budget in the axis' unit as a count; without one, what the policy itself costs."""
    if budget is None:
        return floor(used[problem.axis] * (1 + 1e-12))
    return round(exactly(budget) / problem.counted[problem.axis].quantum)


def _price(problem: SearchProblem, metric: Metric, bound: int, used: float, loss_per_count: float) -> LimitPrice:
    quantum = problem.counted[metric].quantum
    amounts = float(bound * quantum), used * float(quantum)
    price = loss_per_count / float(quantum)
    unit, size = shown_unit(metric, amounts[0])
    stated = [str(each) for each in problem.constraints if each.metric == metric and each.bound == bound]
    binds = price > 0
    return LimitPrice(
        metric=metric.name,
        target=metric.target,
        is_axis=metric == problem.axis,
        stated="; ".join(stated) or "the budget of this point",
        bound=amounts[0],
        used=amounts[1],
        slack=amounts[0] - amounts[1],
        price=price,
        binds=binds,
        shown_unit=unit,
        shown_price=price * size,
        words=_words(metric, unit, price * size) if binds else f"{metric} does not bind: more of it gains nothing",
    )


def shown_unit(metric: Metric, amount: float) -> tuple[str, float]:
    """The largest unit that the amount holds at least once, and what it is worth."""
    names = SHOWN_UNITS.get(metric.name, ("bits",))
    worth = {name: float(UNITS.get(metric.name, {}).get(name, Fraction(1))) for name in names}
    found = next((name for name in names if abs(amount) >= worth[name]), names[-1])
    return found, worth[found]


def _words(metric: Metric, unit: str, price: float) -> str:
    one = {"1": "1 bit operation", "us": "1 µs", "uJ": "1 µJ"}.get(unit, f"1 {unit}")
    return f"{one} less of {metric} costs about {price:.3g} of the loss; {one} more gains as much"
