"""The whole front in one pass: matched by exact, sound bounds, ties, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Infeasible, InvalidSpecification
from core.search.exact import optimum
from core.search.frontier import FRONTIER
from core.search.programme import Choice, Limit, Programme, programme
from core.search.whole_front import whole_front
from tests.search.problems import RESIDUAL, build, run_of


@st.composite
def problems(draw: st.DrawFn) -> tuple[Programme, np.ndarray]:
    """A few layers, some of them tied, some pairs not allowed."""
    layers, rng = draw(st.integers(1, 5)), np.random.default_rng(draw(st.integers(0, 2**32)))
    groups: list[tuple[int, ...]] = []
    for layer in range(layers):
        if groups and rng.random() < 0.4:
            groups[-1] = (*groups[-1], layer)
        else:
            groups.append((layer,))
    allowed = rng.random((layers, 3, 3)) < 0.7
    allowed[:, 2, 2] = True
    losses = [np.sort(rng.random((count, 3)))[:, ::-1] for count in (layers, len(groups))]
    costs = rng.integers(1, 200, (layers, 3, 3))
    return programme(*losses, tuple(groups), allowed), costs


@given(problems(), st.sampled_from([1e-4, 0.05]))
@settings(deadline=None, max_examples=15)
def test_every_optimum_is_matched_within_epsilon(given_problem: tuple[Programme, np.ndarray], epsilon: float) -> None:
    problem, costs = given_problem
    front = whole_front(problem, costs, epsilon)
    least = problem.total(costs, problem.cheapest(costs))
    for budget in np.linspace(least, costs.max(axis=(1, 2)).sum(), 4).astype(int).tolist():
        best = optimum(problem, (Limit("cost", costs, budget),))
        assert best is not None
        reachable = front.loss[front.cost <= budget + max(front.epsilon, epsilon) * least]
        assert reachable.min() <= best.objective
        mine = np.flatnonzero(front.cost <= budget)
        if len(mine):
            assert (
                front.bound[mine[-1]] <= optimum(problem, (Limit("cost", costs, int(front.cost[mine[-1]])),)).objective
            )


@given(problems())
@settings(deadline=None, max_examples=40)
def test_points_are_allowed_tied_and_counted_exactly(given_problem: tuple[Programme, np.ndarray]) -> None:
    problem, costs = given_problem
    front = whole_front(problem, costs)
    assert (np.diff(front.cost) > 0).all()
    assert (np.diff(front.loss) < 0).all()
    for w, a, cost, loss in zip(front.w, front.a, front.cost, front.loss, strict=True):
        choice = Choice(w, a)
        assert problem.holds(choice, (Limit("cost", costs, int(cost)),))
        assert (problem.total(costs, choice), problem.objective(choice)) == (cost, loss)


def test_the_strategy_spreads_points_and_keeps_all_of_the_front() -> None:
    problem = build(search={"points": 5, "strategy": "frontier"})
    result = FRONTIER.search(problem, run_of(problem))
    assert len(result.points) == 5
    assert [each.axis_cost for each in result.points] == sorted({each.axis_cost for each in result.points})
    assert all(each.certificate and each.certificate.rechecked for each in result.points)
    assert result.front is not None
    assert result.front.weight_bits.shape == (len(result.front.loss), len(RESIDUAL))
    assert len(result.front.loss) > 5
    assert result.summary()["predicted_front"][0][0] == result.front.axis_cost[0]
    assert "front" not in result.summary()


def test_a_limit_on_the_axis_cuts_the_front() -> None:
    limit = {"metric": "latency", "target": "bismo-cloud", "relative_to": "uniform-8", "at_most": 0.7}
    problem = build(search={"points": 4, "constraints": [limit]})
    result = FRONTIER.search(problem, run_of(problem))
    bound = problem.counted[problem.axis].amount(problem.constraints[0].bound)
    assert max(result.front.axis_cost) <= bound


def test_a_limit_on_another_cost_is_refused_with_the_strategy_that_can() -> None:
    problem = build(search={"constraints": [{"metric": "size", "unit": "kB", "at_most": 10}]})
    with pytest.raises(InvalidSpecification, match="cannot keep size") as refused:
        FRONTIER.search(problem, run_of(problem))
    assert "exact" in refused.value.hint


def test_a_limit_that_nothing_meets_names_what_can_be_reached() -> None:
    limit = {"metric": "latency", "target": "bismo-cloud", "unit": "us", "at_most": 0.001}
    problem = build(search={"constraints": [limit]})
    with pytest.raises(Infeasible, match="smallest value that can be reached"):
        FRONTIER.search(problem, run_of(problem))


def test_a_limit_that_no_policy_can_break_is_kept_by_all() -> None:
    problem = build(search={"points": 3, "constraints": [{"metric": "size", "unit": "MB", "at_most": 100}]})
    assert len(FRONTIER.search(problem, run_of(problem)).points) == 3
