"""Training whole small networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import Images, Silent, small_network, trained, uniform
from torch import Tensor, fx, nn

from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.errors import InvalidInput
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice, TrainingChoice
from core.quantizers.lsq import LsqActivationQuantizer, LsqWeightQuantizer
from core.quantizers.registry import METHODS
from core.tasks.classification import evaluate
from core.training.carry_over import Quantization
from core.training.fine_tune import fine_tune
from core.training.result import TrainingResult
from core.training.way import way_to

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


@pytest.mark.parametrize("method", ["lsq", "hadq"])
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


def test_the_last_epoch_is_kept_where_the_recipe_says_so(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    result = run(quantized(loaded, calibration), loaded, tmp_path, learning_rate=1e-9, keep="last")
    assert result.best_epoch == 3


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


@pytest.mark.parametrize("recipe", [{"optimiser": "adam"}, {"precision": "bfloat16"}, {"schedule": "constant"}])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_loss_is_told_whatever_the_recipe(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, recipe: dict[str, Any], value: float
) -> None:
    """Also in a stage before the last; and batch norms are not measured on images that spoil them."""
    policy = uniform(loaded, 3)
    choice = TrainingChoice(
        **{"epochs": 2, "batch_size": 16, "progressive_bits": (5,), "batch_norm_batches": 4, **recipe}
    )
    way = way_to(policy, choice, Quantization(loaded, calibration, chosen("lsq")))
    model, untouched = quantized(loaded, calibration), quantized(loaded, calibration)
    result = fine_tune(
        model, None, Spoiled(value), SELECT,
        choice=choice, seed=0, checkpoint_directory=tmp_path, reporter=Silent(), way=way,
    )  # fmt: skip
    assert result.stopped == "diverged"
    assert "in epoch 1" in str(result.diverged)
    assert result.best_epoch == 0
    assert result.batch_norm == "measured anew, and worse"
    assert same(model, untouched)


class Root(nn.Module):
    """No number once its weight is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.linear = nn.Parameter(torch.ones(1, 1)), nn.Linear(72, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear(x.flatten(1)) * self.weight.sqrt()
        return scores


def test_a_last_step_that_ruins_the_network_is_seen_on_the_select_split(tmp_path: Path) -> None:
    choice = TrainingChoice(epochs=1, batch_size=96, learning_rate=2.0, weight_decay=1.0, gradient_clip=1e-6)
    result = fine_tune(
        Root(), None, TRAIN, SELECT, choice=choice, seed=0, checkpoint_directory=tmp_path, reporter=Silent()
    )
    assert result.diverged == "the loss on the select split was not a number after epoch 1"
    assert result.history == ()


def test_a_training_that_ends_with_one_class_has_diverged_though_a_better_network_is_kept(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    model, untouched = quantized(loaded, calibration, bits=8), quantized(loaded, calibration, bits=8)
    result = run(
        model, loaded, tmp_path, learning_rate=0.9, weight_decay=1.0, gradient_clip=1e-6, momentum=0.0,
        schedule="constant", epochs=2,
    )  # fmt: skip
    assert "after epoch 2 the network gave every image class" in str(result.diverged)
    assert result.history[-1].only_class is not None
    assert result.stopped == "finished"
    assert result.best_epoch == 0
    assert same(model, untouched)


def test_batch_norms_are_measured_anew_where_that_is_no_loss(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    """Statistics that were spoiled before training, with a rate too small to mend anything."""
    results = {}
    for batches in (0, 6):
        model = quantized(loaded, calibration, bits=8)
        for name in ("stem_norm", "first_norm", "second_norm"):
            model.get_submodule(name).running_mean.add_(3.0)
            model.get_submodule(name).momentum = 0.0
        recipe = {"epochs": 1, "learning_rate": 1e-9, "batch_norm_batches": batches}
        result = run(model, loaded, tmp_path / str(batches), **recipe)
        results[result.batch_norm] = evaluate(model, SELECT.tensors()).accuracy
    assert results["measured anew"] > results["as trained"] + 0.2


def test_the_teachers_share_counts(loaded: LoadedModel, calibration: Calibration, tmp_path: Path) -> None:
    losses = {
        share: run(
            quantized(loaded, calibration), loaded, tmp_path / str(share), distillation_share=share, epochs=1
        ).history[0].loss
        for share in (0.1, 0.9)
    }  # fmt: skip
    assert losses[0.1] != losses[0.9]


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_an_exploding_loss_ends_the_training(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path, optimiser: str
) -> None:
    model = quantize(loaded, uniform(loaded, 32, 32), calibration, QuantizerChoice(method="lsq"))
    result = run(
        model, loaded, tmp_path, learning_rate=10.0, epochs=5, distillation=False, batch_size=4, gradient_clip=None,
        optimiser=optimiser,
    )  # fmt: skip
    assert result.diverged is not None
    assert "exploded" in result.diverged
    assert result.stopped == "diverged"


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
