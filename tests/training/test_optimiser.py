"""Groups, schedule, clipping."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core.jobs.specification import TrainingChoice
from core.quantizers.lsq import LsqWeightQuantizer
from core.training.optimiser import MAX_GRADIENT_NORM, QUANTIZER_RATE, Optimiser, parameter_groups


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)
        self.quantizer = LsqWeightQuantizer(4, 0, 2)


def test_only_weights_of_layers_decay_and_quantizers_have_a_rate_of_their_own() -> None:
    model = Layer()
    weights, plain, learned = parameter_groups(model, TrainingChoice(weight_decay=0.3))
    assert [list(each["params"]) for each in (weights, learned)] == [[model.linear.weight], [model.quantizer.scale]]  # type: ignore[call-overload]
    assert len(plain["params"]) == 3  # type: ignore[arg-type]
    assert [group["weight_decay"] for group in (weights, plain, learned)] == [0.3, 0.0, 0.0]
    assert [group["rate"] for group in (weights, plain, learned)] == [1.0, 1.0, QUANTIZER_RATE]


def step_size(progress: float, gradient: float = 1.0) -> float:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.zero_()
    optimiser = Optimiser(model, TrainingChoice(learning_rate=0.1, momentum=0.0, weight_decay=0.0))
    model.weight.grad = torch.full((1, 1), gradient)
    optimiser.step(progress)
    return -float(model.weight.detach())


def test_the_rate_falls_as_half_a_cosine() -> None:
    assert step_size(0.0) == pytest.approx(0.1)
    assert step_size(1 / 3) == pytest.approx(0.075)
    assert step_size(0.5) == pytest.approx(0.05)
    assert step_size(1.0) == pytest.approx(0.0)


def test_long_gradients_are_shortened() -> None:
    assert step_size(0.0, gradient=1e6) == pytest.approx(0.1 * MAX_GRADIENT_NORM, rel=1e-4)
    assert step_size(0.0, gradient=1.0) == pytest.approx(0.1)


def test_momenta_can_be_taken_out_and_put_back() -> None:
    choice = TrainingChoice(learning_rate=0.1)
    models = [nn.Linear(2, 2) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimisers = [Optimiser(model, choice) for model in models]
    models[0].weight.grad = torch.ones(2, 2)
    optimisers[0].step(0.0)
    models[1].load_state_dict(models[0].state_dict())
    optimisers[1].set_momenta({name: value.clone() for name, value in optimisers[0].momenta().items()})
    for model, optimiser in zip(models, optimisers, strict=True):
        model.weight.grad = torch.full((2, 2), 0.5)
        optimiser.step(0.3)
    assert torch.equal(models[0].weight, models[1].weight)
