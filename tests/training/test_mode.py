"""Batch norms that training leaves as they are."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import Images, Silent, small_network, trained, uniform
from torch import nn

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice, TrainingChoice
from core.training.fine_tune import fine_tune
from core.training.mode import in_training_mode

TRAIN, SELECT = Images(48, seed=1), Images(24, seed=2)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return trained(small_network(), TRAIN)


def after_training(loaded: LoadedModel, directory: Path, **recipe: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The network's state before and after two epochs, at 4 bits with percentile ranges, as FQN has it."""
    calibration = calibrate(loaded, [x for x, _ in TRAIN.tensors()], observer="percentile")
    model = quantize(loaded, uniform(loaded, 4), calibration, QuantizerChoice(method="uniform"))
    before = copy.deepcopy(model.state_dict())
    choice = TrainingChoice(**{"epochs": 2, "batch_size": 8, "distillation": False, "keep": "last", **recipe})
    fine_tune(model, None, TRAIN, SELECT, choice=choice, seed=0, checkpoint_directory=directory, reporter=Silent())
    return before, model.state_dict()


def changed(states: tuple[dict[str, Any], dict[str, Any]]) -> set[str]:
    before, after = states
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_frozen_batch_norms_keep_their_statistics_while_all_else_trains(loaded: LoadedModel, tmp_path: Path) -> None:
    frozen = changed(after_training(loaded, tmp_path / "frozen", batch_norm="frozen"))
    plain = changed(after_training(loaded, tmp_path / "trained"))
    assert not [name for name in frozen if name.endswith(STATISTICS)]
    assert frozen == {name for name in plain if not name.endswith(STATISTICS)}
    assert {"stem_norm.weight", "stem_norm.bias", "stem.layer.weight"} <= frozen
    assert {f"first_norm.{name}" for name in STATISTICS} <= plain


def test_an_image_is_normalised_alike_whatever_is_in_its_batch() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    x = torch.randn(8, 2, 6, 6)
    network = in_training_mode(network, TrainingChoice(batch_norm="frozen"))
    assert [module.training for module in network] == [True, False, True]
    assert torch.allclose(network[:2](x)[:1], network[:2](x[:1]), atol=1e-6)
    assert all(module.training for module in in_training_mode(network, TrainingChoice()))
