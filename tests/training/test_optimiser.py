"""Groups, rates, clipping, and what has to be remembered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sixty_four import GRADIENT, VALUES
from torch import nn

from core.jobs.specification import TrainingChoice
from core.quantizers.lsq import LsqWeightQuantizer
from core.training.optimiser import SECOND_MOMENT_DECAY, Optimiser, parameter_groups


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)
        self.quantizer = LsqWeightQuantizer(4, 0, 2)


def test_weights_decay_and_quantizers_have_a_rate_and_a_decay_of_their_own() -> None:
    model = Layer()
    choice = TrainingChoice(weight_decay=0.3, quantizer_rate=0.02, quantizer_weight_decay=0.4)
    weights, plain, learned = parameter_groups(model, choice)
    assert [list(each["params"]) for each in (weights, learned)] == [[model.linear.weight], [model.quantizer.scale]]  # type: ignore[call-overload]
    assert len(plain["params"]) == 3  # type: ignore[arg-type]
    assert [group["weight_decay"] for group in (weights, plain, learned)] == [0.3, 0.0, 0.4]
    assert [group["rate"] for group in (weights, plain, learned)] == [1.0, 1.0, 0.02]


def step_size(progress: float, gradient: float = 1.0, **recipe: Any) -> float:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.zero_()
    choice = TrainingChoice(**{"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0, **recipe})
    optimiser = Optimiser(model, choice)
    model.weight.grad = torch.full((1, 1), gradient)
    optimiser.step(progress)
    return -float(model.weight.detach())


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_steps_follow_the_schedule(optimiser: str) -> None:
    first = step_size(0.0, optimiser=optimiser)
    assert first == pytest.approx(0.1)
    assert step_size(1 / 3, optimiser=optimiser) == pytest.approx(0.75 * first)
    assert step_size(1.0, optimiser=optimiser) == pytest.approx(0.0)
    assert step_size(0.8, optimiser=optimiser, schedule="step") == pytest.approx(0.01 * first)


def test_long_gradients_are_shortened_where_the_recipe_says_so() -> None:
    assert step_size(0.0, gradient=1e6, gradient_clip=3.0) == pytest.approx(0.3, rel=1e-4)
    assert step_size(0.0, gradient=1.0, gradient_clip=3.0) == pytest.approx(0.1)
    assert step_size(0.0, gradient=1e3, gradient_clip=None) == pytest.approx(100.0)


def test_what_a_quantizer_learns_moves_at_its_own_rate_and_decays_by_its_own_share() -> None:
    model = Layer()
    model.quantizer.floor.zero_()
    choice = TrainingChoice(
        learning_rate=0.1, momentum=0.0, weight_decay=0.9, quantizer_rate=0.5, quantizer_weight_decay=0.2
    )
    optimiser = Optimiser(model, choice)
    model.quantizer.scale.grad = torch.tensor([1.0, 0.0])
    optimiser.step(0.0)
    assert model.quantizer.scale.tolist() == pytest.approx([1 - 0.05 * (1 + 0.2), 1 - 0.05 * 0.2])


def numpy_adam(weight: np.ndarray, gradients: list[np.ndarray], choice: TrainingChoice) -> np.ndarray:
    """Kingma and Ba, arXiv 1412.6980, algorithm 1, with the decay in the gradient."""
    mean, power = np.zeros_like(weight), np.zeros_like(weight)
    for t, raw in enumerate(gradients, 1):
        g = raw + choice.weight_decay * weight
        mean = choice.momentum * mean + (1 - choice.momentum) * g
        power = SECOND_MOMENT_DECAY * power + (1 - SECOND_MOMENT_DECAY) * g**2
        corrected = mean / (1 - choice.momentum**t), power / (1 - SECOND_MOMENT_DECAY**t)
        weight = weight - choice.learning_rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    return weight


def numpy_sgd(weight: np.ndarray, gradients: list[np.ndarray], choice: TrainingChoice) -> np.ndarray:
    """Sutskever et al. 2013, Nesterov's momentum in the form that evaluates the gradient at the weight itself."""
    buffer = np.zeros_like(weight)
    for raw in gradients:
        g = raw + choice.weight_decay * weight
        buffer = choice.momentum * buffer + g
        weight = weight - choice.learning_rate * (g + choice.momentum * buffer)
    return weight


@pytest.mark.parametrize(("optimiser", "formula"), [("adam", numpy_adam), ("sgd", numpy_sgd)])
def test_three_steps_are_those_of_the_paper(optimiser: str, formula: Any) -> None:
    choice = TrainingChoice.model_validate(
        {
            "optimiser": optimiser,
            "learning_rate": 0.05,
            "weight_decay": 0.1,
            "schedule": "constant",
            "gradient_clip": None,
        }
    )
    model = nn.Linear(8, 8, bias=False).double()
    model.weight.data = torch.tensor(VALUES.reshape(8, 8))
    gradients = [GRADIENT.reshape(8, 8), -0.5 * VALUES.reshape(8, 8), GRADIENT.reshape(8, 8) ** 2]
    under_test = Optimiser(model, choice)
    for gradient in gradients:
        model.weight.grad = torch.tensor(gradient)
        under_test.step(0.4)
    assert np.allclose(model.weight.detach().numpy(), formula(VALUES.reshape(8, 8), gradients, choice), atol=1e-9)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_what_is_remembered_can_be_taken_out_and_put_back(optimiser: str) -> None:
    choice = TrainingChoice.model_validate({"learning_rate": 0.1, "optimiser": optimiser})
    models = [nn.Linear(2, 2) for _ in range(2)]
    optimisers = [Optimiser(model, choice) for model in models]
    models[0].weight.grad = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    optimisers[0].step(0.0)
    models[1].load_state_dict(models[0].state_dict())
    remembered = {name: value.clone() for name, value in optimisers[0].state().items()}
    assert all(name.endswith("/weight") for name in remembered), "the bias had no gradient yet"
    optimisers[1].set_state(remembered)
    for model, each in zip(models, optimisers, strict=True):
        model.weight.grad = torch.full((2, 2), 0.5)
        each.step(0.3)
    assert torch.equal(models[0].weight, models[1].weight)
