"""Training whole small networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import Images, Silent, small_network, trained, uniform
from torch import fx, nn

from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.errors import InvalidInput
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice, TrainingChoice
from core.quantizers.lsq import LsqActivationQuantizer, LsqWeightQuantizer
from core.quantizers.registry import METHODS
from core.tasks.classification import evaluate
from core.training.fine_tune import fine_tune
from core.training.result import TrainingResult

TRAIN, SELECT = Images(96, seed=1), Images(48, seed=2)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return trained(small_network(), TRAIN)


@pytest.fixture(scope="module")
def calibration(loaded: LoadedModel) -> Calibration:
    return calibrate(loaded, [x for x, _ in TRAIN.tensors()])


class Stopped(Exception):
    """The process ends here."""


class StopsAfter(Silent):
    """Ends the training right after a checkpoint, as a killed process would."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def checkpoint(self, name: str) -> None:
        super().checkpoint(name)
        if name == f"epoch-{self.epoch}":
            raise Stopped


def chosen(method: str) -> QuantizerChoice:
    offered = METHODS[method].card.granularities
    return QuantizerChoice(method=method, granularity="channel" if "channel" in offered else "tensor")


def quantized(loaded: LoadedModel, calibration: Calibration, method: str = "lsq", bits: int = 3) -> fx.GraphModule:
    return quantize(loaded, uniform(loaded, bits), calibration, chosen(method))


def run(
    model: nn.Module, loaded: LoadedModel, directory: Path, reporter: Silent | None = None, seed: int = 0, **recipe: Any
) -> TrainingResult:
    choice = TrainingChoice(**{"epochs": 3, "batch_size": 16, **recipe})
    return fine_tune(
        model,
        loaded.module,
        TRAIN,
        SELECT,
        choice=choice,
        seed=seed,
        checkpoint_directory=directory,
        reporter=reporter or Silent(),
    )


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(value, states[1][name]) for name, value in states[0].items()
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("recipe", [{}, {"augmentation": "flip-crop"}, {"distillation": False}])
def test_an_interrupted_training_equals_an_unbroken_one_to_the_bit(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, method: str, recipe: dict[str, Any]
) -> None:
    unbroken, broken = quantized(loaded, calibration, method), quantized(loaded, calibration, method)
    expected = run(unbroken, loaded, tmp_path / "unbroken", **recipe)
    with pytest.raises(Stopped):
        run(broken, loaded, tmp_path / "broken", StopsAfter(2), **recipe)
    torch.manual_seed(99)  # what another process would have drawn by then
    resumed = quantized(loaded, calibration, method)
    found = run(resumed, loaded, tmp_path / "broken", **recipe)
    assert same(unbroken, resumed)
    assert found.resumed_from_epoch == 2
    assert [(epoch.loss, epoch.select_accuracy) for epoch in found.history] == [
        (epoch.loss, epoch.select_accuracy) for epoch in expected.history
    ]
    assert (found.best_epoch, found.diverged) == (expected.best_epoch, expected.diverged)


def test_training_does_not_touch_the_random_state_of_others(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(quantized(loaded, calibration), loaded, tmp_path, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_finished_training_is_not_repeated(loaded: LoadedModel, calibration: Calibration, tmp_path: Path) -> None:
    first, again = quantized(loaded, calibration), quantized(loaded, calibration)
    run(first, loaded, tmp_path)
    reporter = Silent()
    result = run(again, loaded, tmp_path, reporter)
    assert same(first, again)
    assert len(result.history) == 3
    assert reporter.checkpoints == []


def test_another_recipe_or_seed_starts_anew(loaded: LoadedModel, calibration: Calibration, tmp_path: Path) -> None:
    run(quantized(loaded, calibration), loaded, tmp_path)
    assert run(quantized(loaded, calibration), loaded, tmp_path, seed=1).resumed_from_epoch == 0
    assert run(quantized(loaded, calibration), loaded, tmp_path, learning_rate=0.02).resumed_from_epoch == 0


def test_training_at_two_bits_gains_and_the_best_epoch_is_kept(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    model = quantized(loaded, calibration, bits=2)
    before = evaluate(model, SELECT.tensors()).accuracy
    result = run(model, loaded, tmp_path, epochs=8, learning_rate=0.02)
    accuracies = [result.calibrated_select_accuracy, *(epoch.select_accuracy for epoch in result.history)]
    assert result.calibrated_select_accuracy == before
    assert evaluate(model, SELECT.tensors()).accuracy == max(accuracies) == accuracies[result.best_epoch]
    assert max(accuracies) > before
    assert result.diverged is None


def test_the_network_ends_as_calibrated_where_training_only_harms(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    model, untouched = quantized(loaded, calibration, bits=8), quantized(loaded, calibration, bits=8)
    result = run(model, loaded, tmp_path, epochs=1, learning_rate=0.5, momentum=0.0)
    if result.best_epoch == 0:
        assert same(model, untouched)
    assert evaluate(model, SELECT.tensors()).accuracy >= result.calibrated_select_accuracy


def test_what_happens_is_reported(loaded: LoadedModel, calibration: Calibration, tmp_path: Path) -> None:
    reporter = Silent()
    result = run(quantized(loaded, calibration), loaded, tmp_path, reporter)
    assert reporter.checkpoints == ["epoch-1", "epoch-2", "epoch-3"]
    assert [metric for metric in reporter.metrics if metric[0] == "loss"] == [
        ("loss", epoch.loss, epoch.epoch) for epoch in result.history
    ]
    assert reporter.fractions
    assert all(0 <= fraction <= 1 for fraction in reporter.fractions)
    assert TrainingResult.model_validate(result.as_json()) == result


class Spoiled(Images):
    """Images that ruin a training."""

    def __init__(self, value: float) -> None:
        super().__init__(96, seed=1)
        self.x[40:] = value


def test_a_loss_that_is_no_number_ends_the_training_with_its_reason(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    model = quantized(loaded, calibration)
    choice = TrainingChoice(epochs=2, batch_size=16, distillation=False)
    result = fine_tune(
        model, None, Spoiled(float("nan")), SELECT,
        choice=choice, seed=0, checkpoint_directory=tmp_path, reporter=Silent(),
    )  # fmt: skip
    assert result.diverged is not None
    assert "not a number in epoch 1" in result.diverged
    assert np.isfinite(evaluate(model, SELECT.tensors()).loss), "the network is as in its best epoch before"
    assert result.history == ()


def test_an_exploding_loss_ends_the_training(loaded: LoadedModel, calibration: Calibration, tmp_path: Path) -> None:
    model = quantize(loaded, uniform(loaded, 32, 32), calibration, QuantizerChoice(method="lsq"))
    result = run(model, loaded, tmp_path, learning_rate=10.0, epochs=5, distillation=False, batch_size=4)
    assert result.diverged is not None
    assert "exploded" in result.diverged or "not a number" in result.diverged or "class" in result.diverged


def test_a_network_that_gives_every_image_one_class_has_diverged(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    model = quantized(loaded, calibration)
    model.get_submodule("classifier").layer.weight.data.zero_()
    model.get_submodule("classifier").layer.bias.data.copy_(torch.tensor([0.0, 9.0, 0.0]))
    result = run(model, loaded, tmp_path, epochs=1, learning_rate=1e-9)
    assert result.diverged == "the network gives every image class 1"


def test_steps_stay_positive_through_a_rough_training(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    model = quantized(loaded, calibration, bits=2)
    run(model, loaded, tmp_path, epochs=2, learning_rate=1.0)
    for module in model.modules():
        if isinstance(module, LsqWeightQuantizer | LsqActivationQuantizer):
            assert torch.all(module.scale > 0)


def test_one_image_is_too_few(loaded: LoadedModel, calibration: Calibration, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="two images"):
        fine_tune(
            quantized(loaded, calibration), None, Images(1, 0), SELECT,
            choice=TrainingChoice(), seed=0, checkpoint_directory=tmp_path, reporter=Silent(),
        )  # fmt: skip
