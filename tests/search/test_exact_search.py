"""Points of the exact search: distinct, certified, spread, within every constraint, refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Infeasible, InvalidInput, InvalidSpecification
from core.hardware.cost import average_weight_bits
from core.hardware.target import Support, Target
from core.hardware.targets import load_targets
from core.policy import LayerBits
from core.search.registry import STRATEGIES, list_strategies
from core.search.result import SearchResult
from core.search.uniform import uniform_policy
from tests.search.problems import RESIDUAL, build, exact, run_of, sensitivity_of

LATENCY = {"metric": "latency", "target": "bismo-cloud", "relative_to": "uniform-8", "at_most": 0.6}
SIZE = {"metric": "size", "at_most": 12.0, "unit": "kB"}
EDGE = {"metric": "latency", "target": "bismo-edge", "relative_to": "uniform-8", "at_most": 0.5}
ENERGY = {"metric": "energy", "target": "bismo-cloud", "relative_to": "uniform-8", "at_most": 0.8}
OPERATIONS = {"metric": "bit-operations", "at_most": 0.05, "unit": "GBOP"}
AVERAGE = {"metric": "average-weight-bits", "at_most": 4.5, "unit": "bits"}


def found(points: int = 8, constraints: tuple[dict[str, Any], ...] = (), **parts: Any) -> SearchResult:
    return exact(build(search={"points": points, "constraints": constraints}, **parts))


def test_a_job_without_constraints_gets_the_whole_front() -> None:
    result = found()
    assert len(result.points) == 8
    costs = [point.axis_cost for point in result.points]
    losses = [point.predicted_loss for point in result.points]
    assert all(low < high for low, high in pairwise(costs))
    assert all(low > high for low, high in pairwise(losses))
    assert len({point.policy.model_dump_json() for point in result.points}) == 8


def test_every_point_is_certified() -> None:
    for point in found().points:
        certificate = point.certificate
        assert certificate.gap_units == 0
        assert certificate.objective_units == certificate.bound_units
        assert certificate.rechecked
        assert certificate.proof == "enumeration"
        assert point.axis_cost <= certificate.budget
        assert certificate.objective == pytest.approx(point.predicted_loss, rel=1e-6)


def test_the_ends_are_the_least_cost_and_the_least_loss() -> None:
    points = found().points
    inner = [layer.name for layer in RESIDUAL[1:-1]]
    assert {points[0].policy.layers[name] for name in inner} == {LayerBits(weights=2, activations=2)}
    assert {points[-1].policy.layers[name] for name in inner} == {LayerBits(weights=8, activations=8)}


def test_the_points_spread_over_the_axis() -> None:
    costs = [point.axis_cost for point in found().points]
    widest = max(high / low for low, high in pairwise(costs))
    assert widest < (costs[-1] / costs[0]) ** (3 / 7)


@given(
    constraints=st.lists(st.sampled_from([LATENCY, SIZE, EDGE, ENERGY, OPERATIONS, AVERAGE]), max_size=4),
    seed=st.integers(0, 1000),
    axis=st.sampled_from(["latency", "energy", "size", "bit-operations"]),
)
@settings(deadline=None, max_examples=10)
def test_no_point_ever_breaks_a_constraint(constraints: list[dict[str, Any]], seed: int, axis: str) -> None:
    problem = build(
        search={"points": 3, "constraints": constraints, "axis": axis}, sensitivity=sensitivity_of(RESIDUAL, seed)
    )
    uniform = problem.evaluate(uniform_policy(RESIDUAL, 8))
    for point in exact(problem).points:
        cost = problem.evaluate(point.policy)
        assert point.certificate.gap_units == 0
        assert not [each for each in constraints if not holds(each, cost, uniform, point.policy)]


def holds(each: dict[str, Any], cost: dict[str, Any], uniform: dict[str, Any], policy: Any) -> bool:
    close = 1 + 1e-12
    if each["metric"] in ("latency", "energy"):
        key = "latency_s" if each["metric"] == "latency" else "energy_j"
        limit = each["at_most"] * uniform["costs"][each["target"]][key]
        return bool(cost["costs"][each["target"]][key] <= limit * close)
    if each["metric"] == "size":
        return bool(cost["size_bytes"] <= 12_000)
    if each["metric"] == "bit-operations":
        return bool(cost["bit_operations"] <= 0.05e9)
    return average_weight_bits(RESIDUAL, policy) <= 4.5


def test_layers_that_read_one_tensor_get_one_width() -> None:
    for point in found(seed=1).points:
        layers = point.policy.layers
        assert layers["left"].activations == layers["shortcut"].activations


def test_the_first_and_the_last_layer_keep_8_bits() -> None:
    for point in found().points:
        assert {point.policy.layers[name] for name in ("stem", "fc")} == {LayerBits(weights=8, activations=8)}


def test_a_float_first_layer_is_costed_and_marked() -> None:
    problem = build(quantizer={"first_last": "float"}, search={"points": 2})
    for point in exact(problem).points:
        assert point.policy.layers["stem"] == LayerBits(weights=32, activations=32)
        assert set(problem.evaluate(point.policy)["costs"]["bismo-cloud"]["substituted"]) == {"stem", "fc"}


def test_pins_hold_and_win_over_the_first_last_rule() -> None:
    result = found(pins={"right": {"weights": 3}, "left": {"activations": 5}, "stem": {"weights": 32}})
    for point in result.points:
        layers = point.policy.layers
        assert layers["right"].weights == 3
        assert layers["left"].activations == layers["shortcut"].activations == 5
        assert layers["stem"] == LayerBits(weights=32, activations=8)


def test_only_supported_pairs_are_proposed() -> None:
    cloud = load_targets()["bismo-cloud"].model_dump()
    pairs = Target(**{**cloud, "id": "pairs", "supports": Support(pairs=((8, 8), (4, 8), (4, 4)))})
    problem = build(extra={"pairs": pairs}, search={"points": 6})
    both = build(
        extra={"pairs": pairs},
        search={"points": 6, "constraints": [{**LATENCY, "target": "pairs", "at_most": 1.0}]},
    )
    assert any(bits.weights == 2 for point in exact(problem).points for bits in point.policy.layers.values())
    for point in exact(both).points:
        assert all((bits.weights, bits.activations) in pairs.supports.pairs for bits in point.policy.layers.values())


def test_widths_that_no_target_runs_name_the_layer() -> None:
    cloud = load_targets()["bismo-cloud"].model_dump()
    eight = Target(**{**cloud, "id": "eight", "supports": Support(pairs=((8, 8),))})
    on_eight = {**LATENCY, "target": "eight"}
    with pytest.raises(InvalidSpecification, match="'left' at any of the bits"):
        build(extra={"eight": eight}, bits={"weights": (2, 3)}, search={"constraints": [on_eight]})


def test_fewer_optima_than_points_are_said_so() -> None:
    result = found(points=64, bits={"weights": (4, 8), "activations": (8,)})
    assert 2 <= len(result.points) <= 16  # four searched layers
    assert "points were asked for" in result.notes[0]


def test_one_point_is_the_best_within_the_constraints() -> None:
    (point,) = found(points=1, constraints=(LATENCY,)).points
    assert point.predicted_loss == min(each.predicted_loss for each in found(constraints=(LATENCY,)).points)


def test_a_uniform_policy_meets_a_constraint_relative_to_itself() -> None:
    equal = {**LATENCY, "relative_to": "uniform-4", "at_most": 1.0}
    problem = build(search={"points": 2, "constraints": [equal]})
    assert exact(problem).points[-1].predicted_loss <= problem.losses.of_policy(RESIDUAL, uniform_policy(RESIDUAL, 4))


def test_equal_losses_take_the_cheaper_policy() -> None:
    flat = sensitivity_of(RESIDUAL)
    for losses in [*flat.weights.values(), *flat.activations.values()]:
        losses.update(dict.fromkeys(range(4, 9), 0.0))
    best = exact(build(sensitivity=flat, search={"points": 1})).points[0]
    inner = {best.policy.layers[layer.name] for layer in RESIDUAL[1:-1]}
    assert inner == {LayerBits(weights=4, activations=4)}


def test_equal_problems_give_equal_answers() -> None:
    first, second = found(constraints=(LATENCY, SIZE)), found(constraints=(LATENCY, SIZE))
    assert first.points == second.points


@pytest.mark.parametrize(
    "metric", [{**LATENCY, "at_most": 0.05}, {**SIZE, "at_most": 1.0}, {**AVERAGE, "at_most": 1.5}]
)
def test_an_infeasible_constraint_names_what_can_be_reached_and_what_binds(metric: dict[str, Any]) -> None:
    with pytest.raises(Infeasible, match="smallest value that can be reached") as caught:
        found(constraints=(metric, OPERATIONS))
    facts = caught.value.detail
    assert facts["smallest"] > metric["at_most"]
    assert facts["layers"][0]["share"] >= facts["layers"][-1]["share"] > 0
    assert {layer["layer"]: layer["pinned"] for layer in facts["layers"]}["right"] is False
    reachable = {**metric, "at_most": facts["smallest"] * (1 + 1e-9)}
    assert found(points=1, constraints=(reachable,)).points


def test_constraints_that_exclude_each_other_name_what_is_left() -> None:
    """Each can be met alone: narrow weights make it small, narrow activations make the depthwise layer fast."""
    cloud = load_targets()["bismo-cloud"].model_dump()
    either = Target(**{**cloud, "id": "either", "supports": Support(pairs=((2, 8), (8, 2)))})
    small = {"metric": "average-weight-bits", "unit": "bits", "at_most": 2.5}
    fast = {"metric": "latency", "target": "either", "unit": "us", "at_most": 50.0}

    def solved(*constraints: dict[str, Any]) -> SearchResult:
        chosen = {"points": 1, "constraints": constraints}
        layers = RESIDUAL[4:5]
        return exact(
            build(
                layers,
                extra={"either": either},
                targets=("either",),
                quantizer={"first_last": "searched"},
                search=chosen,
            )
        )

    assert solved(small).points[0].policy.layers["depthwise"] == LayerBits(weights=2, activations=8)
    assert solved(fast).points[0].policy.layers["depthwise"] == LayerBits(weights=8, activations=2)
    with pytest.raises(Infeasible, match="while the other constraints hold is 8 bits"):
        solved(small, fast)


def test_a_loss_that_is_not_a_number_is_refused() -> None:
    broken = sensitivity_of(RESIDUAL)
    broken.weights["right"][3] = float("nan")
    with pytest.raises(InvalidInput, match=r"'right' is not a number at \[3\]"):
        found(sensitivity=broken)


def test_a_width_whose_loss_was_not_measured_is_refused() -> None:
    with pytest.raises(InvalidSpecification, match="'left' at 2 bits was not measured"):
        found(sensitivity=sensitivity_of(RESIDUAL, bits=(4, 8)))


def test_a_network_of_one_layer() -> None:
    single = RESIDUAL[2:3]
    points = exact(build(single, quantizer={"first_last": "searched"}, search={"points": 5})).points
    assert len(points) == 5
    (fixed,) = exact(build(single, search={"points": 5})).points
    assert fixed.policy.layers["right"] == LayerBits(weights=8, activations=8)


def test_the_registry_has_a_card_for_each_strategy() -> None:
    assert [card.id for card in list_strategies()] == list(STRATEGIES)
    card = STRATEGIES["exact"].card
    assert card.link.startswith("https://")
    assert card.settings_schema["type"] == "object"


def test_progress_is_reported_and_the_summary_is_plain_json() -> None:
    class Recorder:
        fractions: list[float] = []  # noqa: RUF012

        def progress(self, fraction: float, message: str = "") -> None:
            self.fractions.append(fraction)

    problem = build(search={"points": 4, "constraints": [LATENCY]})
    result = STRATEGIES["exact"].search(problem, replace(run_of(problem), reporter=Recorder()))
    assert Recorder.fractions == sorted(Recorder.fractions)
    assert 0 < Recorder.fractions[0] <= Recorder.fractions[-1] <= 1
    assert result.summary()["constraints"] == ["latency on bismo-cloud at most 0.6 of uniform-8"]
    assert "points" not in result.summary()
