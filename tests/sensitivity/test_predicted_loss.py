"""The result that a search reads."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_networks import Images, Silent, small_network, trained
from torch import fx

from core.calibration.calibration import calibrate
from core.errors import InvalidInput, InvalidSpecification
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import JobSpecification
from core.sensitivity.direct import WeightTrial
from core.sensitivity.hessian_trace import hessian_traces
from core.sensitivity.perturbation import weight_perturbations
from core.sensitivity.predicted_loss import predicted_loss
from core.sensitivity.registry import METRICS, metric_by_id
from core.sensitivity.result import Sensitivity, never_less_at_fewer_bits
from core.sensitivity.scale import scale_factors
from core.sensitivity.terms import LossIncrease


@pytest.fixture(scope="module")
def images() -> Images:
    return Images(60, seed=1)


@pytest.fixture(scope="module")
def loaded(images: Images) -> LoadedModel:
    return trained(small_network(), images)


def specification(**settings: Any) -> JobSpecification:
    return JobSpecification(model_id=UUID(int=0), dataset_id=UUID(int=0), **settings)


def run(loaded: LoadedModel, images: Images, traces: Any, **settings: Any) -> Sensitivity:
    calibration = calibrate(loaded, [x for x, _ in images.tensors()])
    return predicted_loss(
        loaded, calibration, images.tensors(), specification=specification(**settings), traces=traces, reporter=Silent()
    )


@pytest.fixture(scope="module")
def traces(loaded: LoadedModel, images: Images) -> dict[str, Any]:
    found = hessian_traces(loaded, images.tensors(), budget_s=20, seed=0, reporter=Silent())
    return {name: asdict(estimate) for name, estimate in found.items()}


@pytest.mark.parametrize("judge", ["measured", "metric"])
@pytest.mark.parametrize("metric", METRICS)
def test_every_layer_and_tensor_has_a_loss_at_every_width(
    loaded: LoadedModel, images: Images, traces: dict[str, Any], metric: str, judge: str
) -> None:
    found = run(loaded, images, traces, sensitivity={"metric": metric, "activations": judge})
    assert set(found.weights) == {layer.name for layer in loaded.inventory.layers}
    assert set(found.activations) == {layer.reads for layer in loaded.inventory.layers}
    for by_bits in (*found.weights.values(), *found.activations.values()):
        assert list(by_bits) == list(range(1, 9))
        losses = list(by_bits.values())
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] >= 0
    assert 50 <= found.images <= 60, "the eigenvalue takes parts of equal size"
    assert found.seconds > 0
    assert Sensitivity.model_validate_json(found.model_dump_json()) == found


def test_second_order_terms_are_half_trace_times_distance_times_the_factor(
    loaded: LoadedModel, images: Images, traces: dict[str, Any]
) -> None:
    found = run(loaded, images, traces)
    moved = weight_perturbations(loaded, specification().quantizer, range(1, 9))
    for name, trace in traces.items():
        for bits in range(1, 9):
            curvature = max(trace["mean_trace"], trace["standard_error"])
            expected = 0.5 * curvature * moved[name][bits] * found.weight_factors[bits]
            assert found.measured_weights[name][bits] == pytest.approx(expected, rel=1e-9)


def test_the_factor_brings_the_sum_over_layers_to_what_was_measured() -> None:
    graph = fx.Graph()
    nodes = [graph.call_module("a"), graph.call_module("b")]
    trials = [
        WeightTrial(node, 2, torch.empty(0), [torch.full((5,), 0.3) + 0.01 * torch.arange(5.0)]) for node in nodes
    ]
    terms = {"a": {2: LossIncrease(0.01, 0.0)}, "b": {2: LossIncrease(0.03, 0.0)}}
    assert scale_factors(terms, trials)[2] == pytest.approx(0.64 / 0.04, rel=1e-6)
    noise = [WeightTrial(nodes[0], 2, torch.empty(0), [torch.tensor([-1.0, 1.0, 0.1])])]
    assert scale_factors(terms, noise)[2] == 1.0


def test_a_width_whose_loss_is_lost_in_noise_has_the_factor_of_fewer_bits() -> None:
    node = fx.Graph().call_module("a")
    trials = [
        WeightTrial(node, 2, torch.empty(0), [torch.tensor([0.3, 0.31, 0.29])]),
        WeightTrial(node, 4, torch.empty(0), [torch.tensor([-1.0, 1.0, 0.1])]),
    ]
    factors = scale_factors({"a": {2: LossIncrease(0.1, 0.0), 4: LossIncrease(0.01, 0.0)}}, trials)
    assert factors[4] == factors[2] == pytest.approx(3.0, rel=1e-6)


def test_the_metric_that_needs_traces_says_so(loaded: LoadedModel, images: Images) -> None:
    with pytest.raises(InvalidInput, match="traces"):
        run(loaded, images, None)
    with pytest.raises(InvalidSpecification, match="entropy"):
        metric_by_id("entropy")


@given(st.dictionaries(st.integers(1, 8), st.floats(-1, 10), min_size=1))
def test_cleaned_losses_never_fall_with_fewer_bits(losses: dict[int, float]) -> None:
    cleaned = never_less_at_fewer_bits(losses)
    assert set(cleaned) == set(losses)
    assert list(cleaned.values()) == sorted(cleaned.values(), reverse=True)
    assert all(cleaned[bits] >= max(losses[bits], 0.0) for bits in losses)
