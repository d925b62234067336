"""A policy that a person edits: what it costs, and what is wrong with it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from core.errors import InvalidSpecification
from core.jobs.specification import Constraint, Pin, SearchChoice
from core.policy import LayerBits, Policy
from core.search.prediction import predict
from core.search.problem import SearchProblem
from core.search.uniform import uniform_policy
from tests.search.problems import RESIDUAL, build, sensitivity_of

SIZE = Constraint(metric="average-weight-bits", at_most=4.0, unit="bits")


def edited(changed: dict[str, LayerBits] | None = None, bits: int = 4) -> Policy:
    policy = uniform_policy(RESIDUAL, bits, first_last="searched")
    return policy.model_copy(update={"layers": {**policy.layers, **(changed or {})}})


def kinds(problem: SearchProblem, policy: Policy) -> dict[str, tuple[str, ...]]:
    return {each.kind: each.layers for each in predict(problem, policy).problems}


def test_what_it_costs_is_what_the_search_would_say() -> None:
    problem, policy = build(targets=("bismo-cloud", "bismo-edge")), edited(bits=8)
    told, evaluated = predict(problem, policy), problem.evaluate(policy)
    assert told.loss_increase == evaluated["predicted"]["loss_increase"]
    assert (told.size_bytes, told.bit_operations) == (evaluated["size_bytes"], evaluated["bit_operations"])
    for target, cost in told.costs.items():
        assert cost["latency_s"] == evaluated["costs"][target]["latency_s"]
    assert told.problems == ()


def test_ties_pins_and_limits_that_it_does_not_keep_are_told() -> None:
    problem = build(pins={"right": Pin(weights=3)}, search=SearchChoice(constraints=(SIZE,)))
    ends = {name: LayerBits(weights=8, activations=8) for name in ("stem", "fc")}
    held = {**ends, "right": LayerBits(weights=3, activations=4)}
    assert kinds(problem, edited(held)) == {}
    broken = {**held, "left": LayerBits(weights=8, activations=2), "right": LayerBits(weights=8, activations=4)}
    assert kinds(problem, edited(broken)) == {"tied": ("left", "shortcut"), "pinned": ("right",), "limit": ()}
    limit = next(each for each in predict(problem, edited(broken)).problems if each.kind == "limit")
    assert "at most 4" in limit.message


def test_a_width_that_nobody_measured_has_no_loss_and_says_so() -> None:
    measured = sensitivity_of(RESIDUAL)
    del measured.weights["right"][5]
    problem = build(sensitivity=SimpleNamespace(**vars(measured)), bits={"weights": (2, 4), "activations": (2, 4)})
    policy = edited({"right": LayerBits(weights=5, activations=4)})
    assert predict(problem, policy).loss_increase is None
    assert kinds(problem, policy)["unknown-loss"] == ("right",)


def test_a_policy_of_another_network_is_refused() -> None:
    with pytest.raises(InvalidSpecification, match="unknown layers \\['other'\\]"):
        predict(build(), edited({"other": LayerBits(weights=4, activations=4)}))
