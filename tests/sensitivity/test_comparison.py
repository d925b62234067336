"""Which metric ranks layers as the measured loss does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import torch
from small_networks import CLASSES, Images, Silent, small_network, trained
from torch import Tensor, fx, nn

from core.calibration.calibration import calibrate
from core.errors import InvalidSpecification, UnsupportedModel
from core.graph.build_inventory import build_inventory
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import JobSpecification
from core.sensitivity.comparison import Measured, spearman
from core.sensitivity.direct import WeightTrial
from core.sensitivity.hessian_trace import hessian_traces
from core.sensitivity.metric import MetricRun, Subject
from core.sensitivity.predicted_loss import predicted_loss
from core.sensitivity.registry import METRICS
from core.sensitivity.result import Sensitivity
from core.sensitivity.terms import LossIncrease, Score, Side, check_finite, relative_errors


def judged(loaded: LoadedModel, images: Images, **choice: Any) -> Sensitivity:
    specification = JobSpecification.model_validate(
        {"model_id": UUID(int=0), "dataset_id": UUID(int=0), "sensitivity": {"budget_s": 20, **choice}}
    )
    traces = hessian_traces(loaded, images.tensors(), budget_s=1, seed=0, reporter=Silent())
    return predicted_loss(
        loaded,
        calibrate(loaded, [x for x, _ in images.tensors()]),
        images.tensors(),
        specification=specification,
        traces={name: asdict(each) for name, each in traces.items()},
        traces_seconds=1.5,
        reporter=Silent(),
    )


def network(module: nn.Module) -> LoadedModel:
    torch.manual_seed(0)
    traced = fx.symbolic_trace(module.eval())
    return LoadedModel(traced, build_inventory(traced, (2, 6, 6), "test"))


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.only = nn.Flatten(), nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.only(self.flatten(x))


class IdleBranch(nn.Module):
    """`idle` is computed and read by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.idle = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1)
        self.pool, self.flatten, self.last = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        self.idle(y)
        return self.last(self.flatten(self.pool(y)))


@pytest.fixture(scope="module")
def compared() -> Sensitivity:
    images = Images(24, seed=1)
    return judged(trained(small_network(), images), images, metric="divergence", compare=list(METRICS), budget_s=0.3)


def test_every_metric_stands_beside_the_measured_loss_with_seconds_and_errors(compared: Sensitivity) -> None:
    comparison = compared.comparison
    assert comparison is not None
    assert comparison.metrics[0].metric == "divergence", "the chosen one comes first"
    assert {each.metric for each in comparison.metrics} == set(METRICS)
    assert (comparison.weight_bits, comparison.activation_bits) == (2, 2), "the fewest that are searched"
    for each in comparison.metrics:
        assert each.weights is not None
        assert each.activations is not None
        assert -1 <= each.weights.value <= 1
        assert each.weights.standard_error > 0, "the measurement is noisy"
        assert each.weights.count == 4
        assert each.seconds > 0
        assert each.budget_s == 0.3
        assert set(each.weights_values) == set(compared.weights)
        assert set(each.activations_values) == set(compared.activations)
    trace = next(each for each in comparison.metrics if each.metric == "hessian-trace")
    assert trace.seconds > 1.5, "the stage before counts"
    assert Sensitivity.model_validate_json(compared.model_dump_json()) == compared


def test_the_loss_at_the_same_bits_ranks_as_itself(compared: Sensitivity) -> None:
    assert compared.comparison is not None
    direct = next(each for each in compared.comparison.metrics if each.metric == "direct")
    assert direct.weights_values == pytest.approx(compared.comparison.measured_weights, abs=1e-6)
    assert direct.weights is not None
    assert direct.weights.value == 1.0


def test_nothing_is_compared_where_nobody_asks() -> None:
    images = Images(16, seed=1)
    assert judged(small_network(), images, metric="signal-to-noise").comparison is None


def test_the_width_compared_is_the_fewest_searched_that_the_method_has() -> None:
    images = Images(16, seed=1)
    specification = JobSpecification.model_validate(
        {
            "model_id": UUID(int=0), "dataset_id": UUID(int=0), "bits": {"weights": [3, 6], "activations": [5, 8]},
            "sensitivity": {"metric": "signal-to-noise", "compare": ["divergence"], "budget_s": 5},
        }
    )  # fmt: skip
    loaded = small_network()
    calibration = calibrate(loaded, [x for x, _ in images.tensors()])
    found = predicted_loss(
        loaded, calibration, images.tensors(), specification=specification, traces=None, reporter=Silent()
    )
    assert found.comparison is not None
    assert (found.comparison.weight_bits, found.comparison.activation_bits) == (3, 5)


def trials(rows: Tensor) -> list[WeightTrial]:
    graph = fx.Graph()
    return [WeightTrial(graph.call_module(f"l{index}"), 4, torch.empty(0), [row]) for index, row in enumerate(rows)]


def test_a_sure_measurement_agrees_with_itself_and_a_noisy_one_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(12, 40, generator=generator)
    ranks = torch.arange(12.0)[:, None]
    sure, unsure = Measured(trials(ranks + 0.01 * noise), 0), Measured(trials(noise), 0)
    values = {f"l{index}": LossIncrease(float(index), 0.0) for index in range(12)}
    right = sure.correlation(values)
    assert right is not None
    assert (right.value, right.standard_error) == (1.0, 0.0)
    itself, nothing = sure.reliability(), unsure.reliability()
    assert itself is not None
    assert itself.value > 0.99
    assert nothing is not None
    assert nothing.value < 0.6
    wrong = sure.correlation({name: LossIncrease(-each.mean, 0.0) for name, each in values.items()})
    assert wrong is not None
    assert wrong.value == -1.0


def test_a_metric_with_errors_has_an_unsure_correlation() -> None:
    measured = Measured(trials(torch.arange(12.0)[:, None].expand(12, 10)), 0)
    sure = measured.correlation({f"l{index}": LossIncrease(float(index), 0.0) for index in range(12)})
    unsure = measured.correlation({f"l{index}": LossIncrease(float(index), 4.0) for index in range(12)})
    assert sure is not None
    assert unsure is not None
    assert unsure.standard_error > sure.standard_error


def test_ranks_of_ties_are_shared() -> None:
    assert spearman(np.array([1.0, 1.0, 2.0]), np.array([3.0, 3.0, 9.0])) == 1.0
    assert spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8)


def test_one_layer_has_losses_and_nothing_to_rank() -> None:
    images = Images(20, seed=1)
    found = judged(network(OneLayer()), images, metric="fisher", activations="metric", compare=list(METRICS))
    assert list(found.weights) == ["only"]
    assert found.comparison is not None
    assert all(each.weights is None and each.activations is None for each in found.comparison.metrics)
    assert any("no order" in note for note in found.notes)


@pytest.mark.parametrize("metric", METRICS)
def test_a_layer_that_nothing_reads_costs_nothing_and_is_named(metric: str) -> None:
    found = judged(network(IdleBranch()), Images(20, seed=1), metric=metric, activations="metric")
    assert any("does not depend on idle" in note for note in found.notes)
    if metric != "signal-to-noise":
        assert found.weights["idle"][2] == pytest.approx(0.0, abs=1e-6)
    assert found.weights["first"][2] > 0


def test_channels_of_a_metric_that_does_not_tell_them_apart_are_refused() -> None:
    with pytest.raises(InvalidSpecification, match="channels"):
        judged(small_network(), Images(16, seed=1), metric="direct", per_channel=True)


@pytest.mark.parametrize("metric", ["hessian-trace", "fisher", "signal-to-noise"])
def test_channels_are_never_less_at_fewer_bits_and_add_up_to_about_their_layer(metric: str) -> None:
    images = Images(40, seed=1)
    found = judged(trained(small_network(), images), images, metric=metric, per_channel=True, budget_s=2)
    for name, by_bits in found.channels.items():
        assert set(by_bits) == set(range(1, 9))
        for fewer, more in zip(range(1, 8), range(2, 9), strict=True):
            assert all(a >= b >= 0 for a, b in zip(by_bits[fewer], by_bits[more], strict=True))
        assert 0.5 < sum(by_bits[3]) / found.weights[name][3] < 2


def test_a_figure_that_is_no_number_is_refused_with_its_layer() -> None:
    for broken in (LossIncrease(float("nan"), 0.0), LossIncrease(1.0, float("inf"))):
        with pytest.raises(UnsupportedModel, match="'b' at 3 bits"):
            check_finite(Side({"a": {3: LossIncrease(0.0, 0.0)}, "b": {3: broken}}, in_nats=True, images=1), "mine")


def test_the_reached_error_is_relative_and_whole_where_a_value_is_lost() -> None:
    losses = {"a": {4: LossIncrease(2.0, 0.5)}, "b": {4: LossIncrease(0.1, 1.0)}, "c": {4: LossIncrease(0.0, 0.0)}}
    assert relative_errors(Side(losses, in_nats=True, images=1), 4) == {"a": 0.25, "b": 1.0, "c": 0.0}
    scored = Side(losses, in_nats=True, images=1, scores={"a": Score(1.0, 0.1, 9)})
    assert relative_errors(scored, 4) == {"a": pytest.approx(0.1)}


def test_a_metrics_parts_keep_to_its_budget() -> None:
    images = Images(60, seed=1)
    loaded = small_network()
    calibration = calibrate(loaded, [x for x, _ in images.tensors()])
    specification = JobSpecification.model_validate({"model_id": UUID(int=0), "dataset_id": UUID(int=0)})
    subject = Subject(loaded, calibration, images.tensors(), specification.quantizer)
    for metric in METRICS.values():
        if not metric.card.uses_traces:
            metric.weights(subject, MetricRun(1e-9, 0, Silent()))
        metric.activations(subject, MetricRun(1e-9, 0, Silent()))
