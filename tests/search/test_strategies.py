"""What holds for every strategy that asks about policies: limits, ties, pins, seeds; exact is never beaten."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.hardware.target import Support, Target
from core.hardware.targets import load_targets
from core.policy import LayerBits, Policy
from core.search.budgets import budgets
from core.search.evaluator import MeasuredLoss, PredictedLoss
from core.search.exact import optimum
from core.search.problem import SearchProblem, choice_of
from core.search.registry import STRATEGIES
from core.search.result import SearchResult
from core.search.strategy import SearchRun
from tests.search.problems import RESIDUAL, build, run_of, sensitivity_of
from tests.search.test_kernel_groups import problem as kernel_problem

SIZE = {"metric": "size", "at_most": 12.0, "unit": "kB"}
LATENCY = {"metric": "latency", "target": "bismo-edge", "relative_to": "uniform-8", "at_most": 0.6}
QUICK: dict[str, dict[str, Any]] = {
    "random": {},
    "nsga2": {"population": 12},
    "haq": {"hidden": 16, "warmup_episodes": 5, "updates_per_step": 0.1},
    "autoq": {"hidden": 16, "warmup_episodes": 5, "updates_per_step": 0.1, "channel_groups": 2},
}
ASKING = [name for name in QUICK if name in STRATEGIES]


def search(name: str, problem: SearchProblem, *, limit: int = 60, seed: int = 0, **changed: Any) -> SearchResult:
    return STRATEGIES[name].search(problem, run_of(problem, limit=limit, seed=seed, **{**QUICK[name], **changed}))


@pytest.mark.parametrize("name", ASKING)
@given(
    constraints=st.lists(st.sampled_from([SIZE, LATENCY]), unique_by=str, max_size=2),
    seed=st.integers(0, 1000),
    first_last=st.sampled_from(["8/8", "searched"]),
)
@settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_beats_exact_and_every_point_is_within_every_limit(
    name: str, constraints: list[dict[str, Any]], seed: int, first_last: str
) -> None:
    problem = build(
        search={"points": 3, "constraints": constraints},
        quantizer={"first_last": first_last},
        sensitivity=sensitivity_of(RESIDUAL, seed),
    )
    for point in search(name, problem, limit=40, seed=seed).points:
        choice = choice_of(point.policy, problem.layers, problem.axes)
        cost = problem.programme.total(problem.counted[problem.axis].values, choice)
        limits = problem.limits_within(cost)
        assert problem.programme.holds(choice, limits)
        best = optimum(problem.programme, limits)
        assert best is not None
        assert problem.programme.objective(choice) >= best.objective


@pytest.mark.parametrize("name", ASKING)
def test_points_rise_in_cost_and_fall_in_loss(name: str) -> None:
    result = search(name, build(search={"points": 4}))
    assert result.asked == 4
    assert 2 <= len(result.points) <= 4
    assert all(low.axis_cost < high.axis_cost for low, high in pairwise(result.points))
    assert all(low.predicted_loss > high.predicted_loss for low, high in pairwise(result.points))
    assert all(point.certificate is None for point in result.points)


@pytest.mark.parametrize("name", ASKING)
def test_no_more_policies_are_asked_about_than_may_be_and_the_course_is_kept(name: str) -> None:
    for limit in (1, 7, 60):
        result = search(name, build(search={"points": 2}), limit=limit)
        assert result.evaluations <= limit
        assert len(result.points) >= 1
    used = [step.evaluations for step in result.steps]
    assert used == sorted(used)
    assert used[-1] <= 60
    assert any(step.best_loss is not None for step in result.steps)


@pytest.mark.parametrize("name", ASKING)
def test_equal_seeds_find_the_same_and_other_seeds_others(name: str) -> None:
    problem = build(search={"points": 3})
    first, again, other = (search(name, problem, limit=40, seed=seed) for seed in (1, 1, 2))
    assert [point.policy for point in first.points] == [point.policy for point in again.points]
    assert first.steps == again.steps
    assert (first.steps, first.points) != (other.steps, other.points)


@pytest.mark.parametrize("name", ASKING)
def test_pins_hold(name: str) -> None:
    problem = build(search={"points": 2}, pins={"right": {"weights": 3}, "left": {"activations": 5}})
    for point in search(name, problem).points:
        layers = point.policy.layers
        assert layers["right"].weights == 3
        assert layers["left"].activations == layers["shortcut"].activations == 5
        assert layers["stem"] == layers["fc"] == LayerBits(weights=8, activations=8)


@pytest.mark.parametrize("name", ASKING)
def test_layers_that_a_person_tied_share_both_widths(name: str) -> None:
    problem = build(search={"points": 3}, ties=[("right", "depthwise")])
    for point in search(name, problem).points:
        assert point.policy.layers["right"] == point.policy.layers["depthwise"]


@pytest.mark.parametrize("name", ASKING)
def test_groups_of_kernels_can_get_widths_of_their_own(name: str) -> None:
    points = search(name, kernel_problem(2), limit=40).points
    assert len(points) >= 2
    assert any(isinstance(each.weights, tuple) for point in points for each in point.policy.layers.values())


@pytest.mark.parametrize("name", ASKING)
def test_only_pairs_that_the_target_runs_are_chosen(name: str) -> None:
    target = load_targets()["bismo-cloud"]
    pairs = Support(**{**target.supports.model_dump(), "pairs": [(2, 2), (4, 4), (8, 4), (8, 8)]})
    few = Target(**{**target.model_dump(), "id": "few", "supports": pairs})
    problem = build(search={"points": 3}, targets=("few",), extra={"few": few})
    for point in search(name, problem).points:
        assert {(each.weights, each.activations) for each in point.policy.layers.values()} <= {
            (2, 2), (4, 4), (8, 4), (8, 8)
        }  # fmt: skip


@pytest.mark.parametrize("name", ASKING)
def test_where_there_is_one_policy_it_is_found(name: str) -> None:
    problem = build(search={"points": 2}, bits={"weights": (8,), "activations": (8,)})
    [point] = search(name, problem).points
    assert {(each.weights, each.activations) for each in point.policy.layers.values()} == {(8, 8)}


@pytest.mark.parametrize("name", ASKING)
def test_a_search_that_was_cut_short_goes_on_from_what_was_measured(name: str, tmp_path: Path) -> None:
    problem = build(search={"points": 3})
    measured: list[Policy] = []
    predicted = PredictedLoss(problem.programme, 10**6)

    def measure(policy: Policy) -> float:
        if len(measured) == failing_after:
            raise KeyboardInterrupt
        measured.append(policy)
        choice = choice_of(policy, problem.layers, problem.axes)
        return float(predicted.losses(choice.w[None], choice.a[None])[0])

    def run(folder: str) -> SearchResult:
        evaluator = MeasuredLoss(problem.policy, measure, 20, tmp_path / folder)
        return STRATEGIES[name].search(problem, SearchRun(evaluator, seed=3, settings=QUICK[name]))

    failing_after = 8
    with pytest.raises(KeyboardInterrupt):
        run("cut")
    failing_after = -1
    resumed = run("cut")
    assert len(measured) == resumed.evaluations  # none was measured twice
    whole = run("whole")
    assert [point.policy for point in whole.points] == [point.policy for point in resumed.points]
    assert whole.steps == resumed.steps


@pytest.mark.parametrize("name", ASKING)
def test_the_widest_budget_is_used_for_what_it_buys(name: str) -> None:
    problem = build(search={"points": 3})
    result = search(name, problem, limit=150)
    found = [problem.counted[problem.axis].amount(each) for each in budgets(problem)]
    assert result.points[-1].predicted_loss < result.points[0].predicted_loss / 2
    assert all(point.axis_cost <= found[-1] * (1 + 1e-12) for point in result.points)
    assert np.isfinite([point.predicted_loss for point in result.points]).all()
