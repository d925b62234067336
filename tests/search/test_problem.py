"""What a search problem is built from: fixed widths, losses, units, evaluation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from core.errors import Infeasible, InvalidSpecification
from core.hardware.cost_table import CostTable, cost_table
from core.hardware.targets import load_targets
from core.jobs.specification import Pin
from core.policy import LayerBits, Policy
from core.search.forced import forced_bits
from core.search.losses import Losses
from core.search.metrics import Metric, count, exactly
from core.search.peak_activations import peak_bytes
from core.search.uniform import uniform_policy
from tests.search.problems import RESIDUAL, build, exact, sensitivity_of

TABLE = cost_table(load_targets()["bismo-cloud"], RESIDUAL)


def test_a_uniform_policy_keeps_the_ends_at_8() -> None:
    policy = uniform_policy(RESIDUAL, 3)
    assert policy.layers["stem"] == policy.layers["fc"] == LayerBits(weights=8, activations=8)
    assert policy.layers["right"] == LayerBits(weights=3, activations=3)
    assert policy.residual_bits == 16
    assert uniform_policy(RESIDUAL, 3, activation_bits=5).layers["right"] == LayerBits(weights=3, activations=5)


def test_a_uniform_policy_with_float_or_searched_ends() -> None:
    assert uniform_policy(RESIDUAL, 3, first_last="float").layers["fc"] == LayerBits(weights=32, activations=32)
    assert uniform_policy(RESIDUAL, 3, first_last="searched").layers["fc"] == LayerBits(weights=3, activations=3)


def test_layers_that_read_the_network_input_share_its_width() -> None:
    twin = RESIDUAL[1].model_copy(update={"reads": RESIDUAL[0].reads})
    policy = uniform_policy([RESIDUAL[0], twin, *RESIDUAL[2:]], 4)
    assert policy.layers["left"] == LayerBits(weights=4, activations=8)


def test_pins_reach_every_reader_of_a_tensor() -> None:
    forced = forced_bits(RESIDUAL, "searched", {"left": Pin(activations=5)})
    assert forced.activations == {"left": 5, "shortcut": 5}
    assert forced.weights == {}


def test_pins_that_contradict_each_other_name_the_layers() -> None:
    with pytest.raises(InvalidSpecification, match=r"\['left', 'shortcut'\] read the same tensor"):
        forced_bits(RESIDUAL, "8/8", {"left": Pin(activations=5), "shortcut": Pin(activations=4)})


def test_pins_of_unknown_layers_are_refused() -> None:
    with pytest.raises(InvalidSpecification, match="nowhere"):
        forced_bits(RESIDUAL, "8/8", {"nowhere": Pin(weights=4)})


def test_losses_never_fall_with_fewer_bits() -> None:
    noisy = sensitivity_of(RESIDUAL)
    noisy.weights["right"] = {8: -1.0, 6: 0.2, 4: 0.1, 2: 3.0}
    assert Losses.read(noisy, RESIDUAL).weights["right"] == {8: 0.0, 6: 0.2, 4: 0.2, 2: 3.0}


def test_activation_losses_may_be_named_by_tensor_or_by_layer() -> None:
    by_tensor = sensitivity_of(RESIDUAL)
    by_layer = sensitivity_of(RESIDUAL)
    by_layer.activations = {layer.name: by_tensor.activations[layer.reads] for layer in RESIDUAL}
    first, second = (Losses.read(each, RESIDUAL).activations for each in (by_tensor, by_layer))
    assert first == second


def test_the_loss_of_any_policy() -> None:
    losses = build().losses
    four = uniform_policy(RESIDUAL, 4, first_last="searched")
    by_hand = sum(losses.weights[layer.name][4] for layer in RESIDUAL)
    by_hand += sum(tensor[4] for tensor in losses.activations.values())
    assert losses.of_policy(RESIDUAL, four) == pytest.approx(by_hand)
    float_policy = uniform_policy(RESIDUAL, 32, first_last="float")
    assert losses.of_policy(RESIDUAL, float_policy) == 0


def test_the_loss_of_channels_of_different_widths_is_their_mean() -> None:
    losses = build().losses
    four = uniform_policy(RESIDUAL, 4)
    mixed = four.model_dump()
    mixed["layers"]["right"]["weights"] = (2,) * 16 + (6,) * 16
    expected = losses.weights["right"][2] / 2 + losses.weights["right"][6] / 2 - losses.weights["right"][4]
    difference = losses.of_policy(RESIDUAL, Policy(**mixed)) - losses.of_policy(RESIDUAL, four)
    assert difference == pytest.approx(expected)


def test_the_loss_of_a_pruned_layer_is_unknown() -> None:
    problem = build()
    pruned = uniform_policy(RESIDUAL, 4).model_dump()
    pruned["layers"]["right"]["weights"] = 0
    assert problem.evaluate(Policy(**pruned))["predicted"] == {"loss_increase": None}


def test_an_evaluation_has_all_that_a_page_shows() -> None:
    problem = build()
    evaluated = problem.evaluate(uniform_policy(RESIDUAL, 4))
    cost = evaluated["costs"]["bismo-cloud"]
    assert set(evaluated) == {"predicted", "costs", "size_bytes", "bit_operations"}
    assert cost["provenance"] == "simulated"
    assert cost["images_per_pass"] == 16
    assert set(cost["bound_by"]) == {layer.name for layer in RESIDUAL}
    assert cost["latency_s"] == pytest.approx(sum(cost["layer_latency_s"].values()))


def test_latency_is_counted_in_whole_cycles() -> None:
    counted = count(Metric("latency", "bismo-cloud"), TABLE)
    assert counted.quantum == Fraction(1, 200_000_000)
    assert np.allclose(counted.values * float(counted.quantum), TABLE.latency_s, rtol=1e-12)


def test_measured_latency_is_counted_in_picoseconds_rounded_up() -> None:
    odd = CostTable(**{**vars(TABLE), "latency_s": TABLE.latency_s * np.pi / 3})
    counted = count(Metric("latency", "bismo-cloud"), odd)
    assert counted.quantum == Fraction(1, 10**12)
    excess = counted.values * 1e-12 - odd.latency_s
    assert excess.min() > -1e-15
    assert excess.max() < 1.1e-12


def test_energy_of_a_target_without_a_model_is_refused() -> None:
    silent = CostTable(**{**vars(TABLE), "energy_j": np.full_like(TABLE.energy_j, np.nan)})
    with pytest.raises(InvalidSpecification, match="no model of energy"):
        count(Metric("energy", "bismo-cloud"), silent)


def test_a_number_is_taken_as_it_was_written() -> None:
    assert exactly(0.6) == Fraction(3, 5)


@pytest.mark.parametrize(
    ("metric", "unit", "at_most", "target"),
    [
        ("latency", "us", 1500.0, "bismo-cloud"),
        ("energy", "uJ", 4000.0, "bismo-cloud"),
        ("size", "KiB", 12.0, None),
        ("bit-operations", "1", 5e7, None),
        ("average-weight-bits", "bits", 4.0, None),
        ("average-activation-bits", "bits", 5.0, None),
    ],
)
def test_units_are_what_they_say(metric: str, unit: str, at_most: float, target: str | None) -> None:
    stated = {"metric": metric, "unit": unit, "at_most": at_most, "target": target}
    (bound,) = build(search={"constraints": [stated]}).constraints
    assert bound.in_unit(bound.bound) == pytest.approx(at_most, rel=1e-4)
    assert str(bound).endswith(f"at most {at_most:.6g} {unit}")


def test_a_unit_of_something_else_is_refused() -> None:
    with pytest.raises(InvalidSpecification, match="size is not measured in ms"):
        build(search={"constraints": [{"metric": "size", "unit": "ms", "at_most": 3.0}]})


def test_a_constraint_may_name_a_target_outside_of_the_job() -> None:
    edge = {"metric": "latency", "target": "bismo-edge", "unit": "ms", "at_most": 5.0}
    assert set(build(search={"constraints": [edge]}).tables) == {"bismo-cloud", "bismo-edge"}


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(InvalidSpecification, match="abacus"):
        build(search={"constraints": [{"metric": "latency", "target": "abacus", "unit": "ms", "at_most": 5.0}]})


def test_mean_activation_bits_count_each_tensor_once() -> None:
    limit = {"metric": "average-activation-bits", "unit": "bits", "at_most": 6.0}
    problem = build(search={"constraints": [limit]})
    tensors = {layer.reads: np.prod(layer.input_shape) for layer in RESIDUAL}
    (bound,) = problem.constraints
    for point in exact(problem).points:
        bits = {layer.reads: point.policy.layers[layer.name].activations for layer in RESIDUAL}
        mean = sum(tensors[name] * bits[name] for name in tensors) / sum(tensors.values())
        assert mean <= 6
    assert bound.bound == 6 * sum(tensors.values())


def test_activation_memory_is_a_peak() -> None:
    stem = RESIDUAL[0]  # 8/8: 768 values in, 4,096 out
    limit = {"metric": "activation-memory", "unit": "B", "at_most": 4864.0}
    problem = build(search={"constraints": [limit], "points": 2})
    for point in exact(problem).points:
        assert peak_bytes(RESIDUAL, point.policy) <= 4864
        assert point.policy.layers["left"].activations <= 6  # 6,144 values
    with pytest.raises(Infeasible, match=rf"{stem.name!r} does not fit .* 4,864 bytes"):
        build(search={"constraints": [{**limit, "at_most": 4863.0}]})


def test_activation_memory_relative_to_a_baseline() -> None:
    limit = {"metric": "activation-memory", "relative_to": "uniform-8", "at_most": 0.8}
    problem = build(search={"constraints": [limit], "points": 2})
    whole = peak_bytes(RESIDUAL, uniform_policy(RESIDUAL, 8))
    assert all(peak_bytes(RESIDUAL, point.policy) <= 0.8 * whole for point in exact(problem).points)


def test_the_same_width_for_weights_and_activations() -> None:
    problem = build(bits={"same": True}, search={"points": 4})
    for point in exact(problem).points:
        assert all(bits.weights == bits.activations for bits in point.policy.layers.values())
        assert point.policy.layers["left"] == point.policy.layers["shortcut"]  # they read one tensor
