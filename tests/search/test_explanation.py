"""Explanations: changes are differences of what the search evaluates, prices are slopes, and budgets are answered."""

from __future__ import annotations

from itertools import pairwise
from math import isclose
from typing import Any

import pytest

from core.jobs.specification import BitRanges, Constraint, Pin, SearchChoice
from core.policy import LayerBits, Policy
from core.search.exact import optimum
from core.search.explained import Change, Operand
from core.search.explanation import ExplainedPolicy, explain
from core.search.problem import SearchProblem
from core.search.shadow_prices import budget_count
from core.search.uniform import uniform_policy
from core.search.what_if import front_alone, what_if
from core.search.whole_front import whole_front
from tests.search.problems import RESIDUAL, build, exact

BITS = BitRanges(weights=(2, 3, 4, 6, 8), activations=(2, 4, 8))
TARGETS = ("bismo-cloud", "bismo-edge")
SIZE = Constraint(metric="average-weight-bits", at_most=4.0, unit="bits")


def searched(**parts: Any) -> tuple[SearchProblem, Policy, float]:
    """A problem, and a point in the middle of its front with the budget it was searched within."""
    problem = build(targets=TARGETS, bits=BITS, **parts)
    point = exact(problem).points[3]
    assert point.certificate is not None
    return problem, point.policy, point.certificate.budget


def with_change(policy: Policy, names: tuple[str, ...], operand: Operand, bits: int) -> Policy:
    layers = dict(policy.layers)
    for name in names:
        layers[name] = layers[name].model_copy(update={operand: bits})
    return policy.model_copy(update={"layers": layers})


def assert_is_difference(problem: SearchProblem, policy: Policy, changed: Policy, change: Change) -> None:
    before, after = problem.evaluate(policy), problem.evaluate(changed)

    def close(told: float | None, new: float, old: float) -> bool:
        return told is not None and isclose(told, new - old, rel_tol=1e-6, abs_tol=1e-9 * abs(old))

    assert close(change.loss, after["predicted"]["loss_increase"], before["predicted"]["loss_increase"])
    assert close(change.size_bytes, after["size_bytes"], before["size_bytes"])
    assert close(change.bit_operations, after["bit_operations"], before["bit_operations"])
    for target in TARGETS:
        assert close(
            change.latency_s[target], after["costs"][target]["latency_s"], before["costs"][target]["latency_s"]
        )
        assert close(change.energy_j[target], after["costs"][target]["energy_j"], before["costs"][target]["energy_j"])


def test_a_width_more_or_fewer_changes_what_evaluating_both_policies_tells() -> None:
    problem, policy, budget = searched()
    seen = 0
    for layer in explain(problem, policy, budget).layers:
        for operand in ("weights", "activations"):
            told = getattr(layer, operand)
            for change in filter(None, (told.more, told.fewer)):
                changed = with_change(policy, (layer.name, *told.changes_with), operand, change.bits)
                assert_is_difference(problem, policy, changed, change)
                seen += 1
    assert seen > len(RESIDUAL)


def test_layers_that_read_one_tensor_change_together() -> None:
    problem, policy, budget = searched()
    left = next(layer for layer in explain(problem, policy, budget).layers if layer.name == "left")
    assert left.activations.changes_with == ("shortcut",)
    assert left.weights.changes_with == ()


def test_layers_that_a_job_ties_change_both_widths_together() -> None:
    problem, policy, budget = searched(ties=(("depthwise", "right"),))
    layers = {layer.name: layer for layer in explain(problem, policy, budget).layers}
    assert layers["depthwise"].weights.changes_with == layers["depthwise"].activations.changes_with == ("right",)
    change = layers["right"].weights.more or layers["right"].weights.fewer
    assert change is not None
    changed = with_change(policy, ("depthwise", "right"), "weights", change.bits)
    assert_is_difference(problem, policy, changed, change)


def test_the_next_width_is_one_that_is_allowed_and_a_pin_has_none() -> None:
    problem = build(targets=TARGETS, bits=BITS, pins={"right": Pin(weights=4)})
    policy = exact(problem).points[3].policy
    layers = {layer.name: layer for layer in explain(problem, policy).layers}
    assert layers["right"].weights.more is layers["right"].weights.fewer is None
    assert "pinned" in layers["right"].weights.held
    for layer in layers.values():
        for told, axis in ((layer.weights, BITS.weights), (layer.activations, BITS.activations)):
            for change in filter(None, (told.more, told.fewer)):
                assert isinstance(told.bits, int)
                between = [bits for bits in axis if min(told.bits, change.bits) < bits < max(told.bits, change.bits)]
                assert not between


def test_a_change_that_breaks_a_constraint_names_it() -> None:
    problem, policy, budget = searched(search=SearchChoice(constraints=(SIZE,)))
    explained = explain(problem, policy, budget)
    size = ExplainedPolicy(problem, policy).totals[problem.constraints[0].metric]
    for layer in explained.layers:
        change = layer.weights.more
        if change is not None:
            breaks = size + 8 * change.size_bytes > problem.constraints[0].bound
            assert change.breaks == ((str(problem.constraints[0]),) if breaks else ())


def test_a_policy_of_any_widths_and_kernels_is_explained() -> None:
    problem = build(targets=TARGETS, bits=BITS)
    layers = dict(uniform_policy(RESIDUAL, 5).layers)
    layers["right"] = LayerBits(weights=(2, 8) * 16, activations=5)
    explained = {layer.name: layer for layer in explain(problem, Policy(layers=layers)).layers}
    assert explained["right"].weights.held == "its channels have widths of their own"
    assert explained["left"].weights.more is not None
    assert explained["left"].weights.more.bits == 6
    change = explained["right"].activations.more
    assert change is not None
    assert change.bits == 8


def lower_hull(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Andrew's monotone chain: what the linear relaxation can reach of a front."""
    hull: list[tuple[int, int]] = []
    for x, y in sorted(points):
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (x - hull[-1][0]) >= (y - hull[-1][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append((x, y))
    return hull


def test_a_price_is_the_slope_of_the_least_loss_at_the_budget() -> None:
    problem, policy, budget = searched()
    price = explain(problem, policy, budget).limits[0]
    front = whole_front(problem.programme, problem.counted[problem.axis].values, 1e-5)
    unit, quantum = problem.programme.loss_unit, float(problem.counted[problem.axis].quantum)
    at = price.bound / quantum
    hull = lower_hull(list(zip(front.cost.tolist(), front.loss.tolist(), strict=True)))
    (slope,) = [(y0 - y1) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(hull) if x0 <= at < x1]
    assert price.binds
    assert price.price == pytest.approx(slope * unit / quantum, rel=0.01)
    assert f"{price.shown_price:.3g}" in price.words


def test_limits_that_nothing_reaches_do_not_bind() -> None:
    loose = Constraint(metric="average-weight-bits", at_most=8.0, unit="bits")
    problem, policy, budget = searched(search=SearchChoice(constraints=(loose,)))
    axis, size = explain(problem, policy, budget).limits
    assert (axis.binds, size.binds) == (True, False)
    assert size.slack > 0
    assert "does not bind" in size.words


@pytest.mark.parametrize("constraints", [(), (SIZE,)])
def test_less_of_a_cost_is_answered_with_the_exact_optimum(constraints: tuple[Constraint, ...]) -> None:
    problem, policy, budget = searched(search=SearchChoice(constraints=constraints))
    totals = {metric: int(count) for metric, count in ExplainedPolicy(problem, policy).totals.items()}
    own = budget_count(problem, totals, budget)
    loss = round(problem.evaluate(policy)["predicted"]["loss_increase"] / problem.programme.loss_unit)
    told = what_if(problem, totals, own, loss, front_alone(problem))
    assert [each.is_axis for each in told] == [True] + [False] * len(constraints)
    for answer in told[0].answers:
        best = optimum(
            problem.programme, problem.limits_within(round(answer.bound / float(problem.counted[problem.axis].quantum)))
        )
        assert (best is None) == (answer.loss is None)
        if best is not None and answer.loss is not None and answer.gap is not None:
            exact_loss = best.objective * problem.programme.loss_unit
            assert answer.loss - answer.gap <= exact_loss * (1 + 1e-9)
            assert exact_loss <= answer.loss * (1 + 1e-9)
            assert answer.used is not None
            assert answer.used <= answer.bound * (1 + 1e-12)
    changes = [answer.change for answer in told[0].answers if answer.change is not None]
    assert changes == sorted(changes, reverse=True)


def test_where_only_equal_pairs_run_the_weights_move_along_with_the_activations() -> None:
    problem = build(targets=TARGETS, bits=BitRanges(weights=(2, 4, 8), activations=(2, 4, 8), same=True))
    policy = uniform_policy(RESIDUAL, 4)
    told = {layer.name: layer for layer in explain(problem, policy).layers}
    assert told["left"].weights.more is told["left"].weights.fewer is None
    assert "the tensor's" in told["left"].weights.held
    for change in (told["left"].activations.more, told["left"].activations.fewer):
        assert change is not None
        assert change.weights_along == {"left": change.bits, "shortcut": change.bits}
        changed = with_change(policy, ("left", "shortcut"), "activations", change.bits)
        changed = with_change(changed, ("left", "shortcut"), "weights", change.bits)
        assert_is_difference(problem, policy, changed, change)
