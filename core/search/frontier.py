"""Frontier: the whole front of predicted loss against one cost in one pass, and points spread along it.

Dong et al., "HAWQ-V2", NeurIPS 2020, https://arxiv.org/abs/1911.03852; Cai et al., "ZeroQ", CVPR 2020,
https://arxiv.org/abs/2001.00281. How it is computed, and how exact it is: core/search/whole_front.py.
"""

from __future__ import annotations

import time

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from core.errors import InvalidSpecification
from core.search.budgets import spread
from core.search.infeasible import infeasible
from core.search.problem import SearchProblem
from core.search.programme import Choice
from core.search.result import Certificate, PredictedFront, ProposedPoint, SearchResult
from core.search.strategy import SearchRun, StrategyCard
from core.search.whole_front import WholeFront, whole_front

SOLVER = "dynamic programme over the whole front"


class FrontierSettings(BaseModel):
    """What can be set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epsilon: float = Field(
        default=1e-3, ge=1e-5, le=0.1, description="error of the cost that is allowed, relative to the least cost"
    )


class Frontier:
    """The strategy."""

    @property
    def card(self) -> StrategyCard:
        """What a person reads about it."""
        return StrategyCard(
            id="frontier",
            title="Whole front (dynamic programme)",
            paper="Dong et al., HAWQ-V2, NeurIPS 2020; Cai et al., ZeroQ, CVPR 2020",
            link="https://arxiv.org/abs/1911.03852",
            reconstruction_notes="The papers take the best configuration of each size; here any cost, activations and "
            "tied layers, with a stated error. Limits on other costs than the axis are not possible: use exact.",
            evaluates=False,
            settings_schema=FrontierSettings.model_json_schema(),
        )

    def search(self, problem: SearchProblem, run: SearchRun) -> SearchResult:
        """Points by rising cost; raises InvalidSpecification where a limit is not on the axis, Infeasible if unmet."""
        started = time.perf_counter()
        others = [each for each in problem.constraints if each.metric != problem.axis and problem.can_bind(each)]
        if others:
            raise InvalidSpecification(
                f"the whole front is along {problem.axis}; it cannot keep {others[0]}",
                hint="take the strategy exact, or drop that limit",
            )
        epsilon = FrontierSettings.model_validate(dict(run.settings)).epsilon
        front = whole_front(problem.programme, problem.counted[problem.axis].values, epsilon)
        on_axis = [each.bound for each in problem.constraints if each.metric == problem.axis]
        bound = min(on_axis, default=int(front.cost[-1]))
        within = int(np.searchsorted(front.cost, bound, side="right"))
        if not within:
            raise infeasible(problem)
        chosen = _spread(front, within, problem.points)
        points = tuple(_point(problem, front, position) for position in chosen)
        return SearchResult(
            points=points,
            axis=str(problem.axis),
            asked=problem.points,
            seconds=time.perf_counter() - started,
            constraints=tuple(str(each) for each in problem.constraints),
            notes=(f"{within} policies on the front; costs within {front.epsilon:.2%} of the least cost",),
            front=_predicted(problem, front, within),
        )


def _spread(front: WholeFront, within: int, points: int) -> list[int]:
    """Positions of the last policies within evenly spread budgets, all different."""
    budgets = spread(int(front.cost[0]), int(front.cost[within - 1]), points)
    return sorted({int(np.searchsorted(front.cost, budget, side="right")) - 1 for budget in budgets})


def _predicted(problem: SearchProblem, front: WholeFront, within: int) -> PredictedFront:
    axis, unit = problem.counted[problem.axis], problem.programme.loss_unit
    weights, activations = (np.array(bits) for bits in problem.axes)
    return PredictedFront(
        axis_cost=[axis.amount(count) for count in front.cost[:within].tolist()],
        loss=(front.loss[:within] * unit).tolist(),
        bound=(front.bound[:within] * unit).tolist(),
        weight_bits=weights[front.w[:within]].astype(np.uint8),
        activation_bits=activations[front.a[:within]].astype(np.uint8),
    )


def _point(problem: SearchProblem, front: WholeFront, position: int) -> ProposedPoint:
    programme, unit = problem.programme, problem.programme.loss_unit
    choice = Choice(front.w[position], front.a[position])
    cost, loss, bound = (int(each[position]) for each in (front.cost, front.loss, front.bound))
    policy = problem.policy(choice)
    predicted = problem.losses.of_policy(problem.layers, policy)
    axis = problem.counted[problem.axis]
    limits = problem.limits_within(cost)
    return ProposedPoint(
        policy=policy,
        predicted_loss=loss * unit if predicted is None else predicted,
        axis_cost=axis.amount(cost),
        certificate=Certificate(
            objective=loss * unit,
            bound=bound * unit,
            gap=(loss - bound) * unit,
            objective_units=loss,
            bound_units=bound,
            gap_units=loss - bound,
            loss_unit=unit,
            proof="front",
            states=len(front.cost),
            rechecked=programme.holds(choice, limits) and programme.objective(choice) == loss,
            budget=axis.amount(cost),
            solver=SOLVER,
        ),
    )


FRONTIER = Frontier()
