"""Checkpoints that are whole, or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from core.training.checkpoint import RECORD, Checkpoint, load_checkpoint, save_checkpoint
from core.training.result import EpochRecord

RECIPE: dict[str, object] = {"epochs": 3, "seed": 0}


def checkpoint(epochs: int) -> Checkpoint:
    history = [EpochRecord(epoch=each + 1, loss=1.0, select_accuracy=0.5, seconds=0.1) for each in range(epochs)]
    state = {"a.weight": torch.full((2, 2), float(epochs)), "a.count": torch.tensor(epochs)}
    return Checkpoint(state, {"a.weight": torch.rand(2, 2)}, state, 1, 0.5, 1.2, 2.3, 0.4, history)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = checkpoint(2)
    save_checkpoint(tmp_path, saved, RECIPE)
    found = load_checkpoint(tmp_path, RECIPE)
    assert found is not None
    for part in ("model", "optimiser", "best"):
        expected = getattr(saved, part)
        assert getattr(found, part).keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in getattr(found, part).items())
    assert found.history == saved.history
    assert (found.best_epoch, found.best_loss, found.first_loss) == (1, 1.2, 2.3)


def test_only_the_last_checkpoint_is_kept_and_nothing_half_written(tmp_path: Path) -> None:
    for epochs in (1, 2, 3):
        save_checkpoint(tmp_path, checkpoint(epochs), RECIPE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, "epoch-3.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "record"])
def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, checkpoint(1), RECIPE)
    tensors = tmp_path / "epoch-1.safetensors"
    content = bytearray(tensors.read_bytes())
    if damage == "cut":
        tensors.write_bytes(content[:-3])
    elif damage == "flip":
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif damage == "gone":
        tensors.unlink()
    else:
        (tmp_path / RECORD).write_text("{")
    assert load_checkpoint(tmp_path, RECIPE) is None


def test_a_record_cannot_point_outside_its_directory(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    save_checkpoint(inside, checkpoint(1), RECIPE)
    (inside / "epoch-1.safetensors").rename(tmp_path / "epoch-1.safetensors")
    record = json.loads((inside / RECORD).read_text())
    (inside / RECORD).write_text(json.dumps({**record, "file": "../epoch-1.safetensors"}))
    assert load_checkpoint(inside, RECIPE) is None


def test_an_empty_directory_and_another_recipe_have_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "missing", RECIPE) is None
    save_checkpoint(tmp_path, checkpoint(1), RECIPE)
    assert load_checkpoint(tmp_path, {**RECIPE, "seed": 1}) is None
