"""The training stage of one candidate, on a real network and real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from safetensors.torch import load_file

from bitfront.example import example_dataset_path, example_model_path, example_preprocessing
from core.graph.load import load_model
from core.jobs.specification import JobSpecification
from core.jobs.stages.finetune import TRAINED_FILE
from core.jobs.stages.run import run_task
from core.jobs.task import RESULT_FILE, DatasetFileInput, DatasetInput, ModelInput, TaskInput
from core.sensitivity.result import Sensitivity
from core.training.blocks import blocks_of
from core.training.result import TrainingResult
from tests.harness.small_networks import Silent, uniform

RunStage = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    with np.load(example_dataset_path(), allow_pickle=False) as archive:
        np.savez(path, **{name: archive[name][:96] for name in archive.files})
    return path


@pytest.fixture
def run_stage(digits: Path, tmp_path: Path) -> RunStage:
    """Runs a stage in the directory of its name, with the outputs of those before it."""

    def run(stage: str, *upstream: str, **training: Any) -> dict[str, Any]:
        job = JobSpecification.model_validate({
            "model_id": UUID(int=1), "dataset_id": UUID(int=2), "calibration": {"samples": 32},
            "training": {"epochs": 2, "batch_size": 32, **training},
        })  # fmt: skip
        run_task(TaskInput(
            task_id="t", stage=stage, point=0 if stage == "finetune" else None,
            specification=job.model_dump(mode="json"),
            model=ModelInput(path=example_model_path(), filename="digits.onnx", preprocessing=example_preprocessing()),
            dataset=DatasetInput(files=[DatasetFileInput(path=digits, filename="digits.npz")]),
            upstream={name: tmp_path / name for name in upstream}, directory=tmp_path / stage,
            checkpoint_directory=tmp_path / stage / "checkpoints",
        ), Silent())  # fmt: skip
        found: dict[str, Any] = json.loads((tmp_path / stage / RESULT_FILE).read_text())
        return found

    run("calibrate")
    policy = uniform(load_model(example_model_path(), None), 3).model_dump(mode="json")
    write(tmp_path / "search", {"candidates": [{"point": 0, "policy": policy}]})
    write(tmp_path / "evaluate", {"post_training": None})
    return run


def write(directory: Path, result: dict[str, Any]) -> None:
    directory.mkdir()
    (directory / RESULT_FILE).write_text(json.dumps(result))


def predicted(losses: dict[str, float]) -> dict[str, Any]:
    sensitivity = Sensitivity(
        metric="direct", weights={name: {3: loss} for name, loss in losses.items()}, activations={},
        measured_weights={}, measured_activations={}, weights_standard_errors={}, activations_standard_errors={},
        images=1, seconds=0.0, budget_s=1.0,
    )  # fmt: skip
    return {"sensitivity": sensitivity.model_dump(mode="json")}


def test_a_point_whose_training_diverges_is_marked_and_keeps_its_calibrated_network(
    run_stage: RunStage, tmp_path: Path
) -> None:
    """The task succeeds; the worker marks the candidate from what stands in `training`."""
    found = run_stage(
        "finetune", "calibrate", "search", "evaluate", learning_rate=10.0, gradient_clip=None, distillation=False
    )
    training = TrainingResult.model_validate(found["training"])
    assert training.diverged
    assert training.best_epoch == 0
    assert found["measured"]["trained"]["select"]["accuracy"] == training.calibrated_select_accuracy
    assert all(value.isfinite().all() for value in load_file(tmp_path / "finetune" / TRAINED_FILE).values())


def test_blocks_are_trained_in_the_order_of_their_predicted_loss(run_stage: RunStage, tmp_path: Path) -> None:
    module = load_model(example_model_path(), None).module
    blocks = blocks_of(module)
    write(tmp_path / "sensitivity", predicted({block[0]: float(place) for place, block in enumerate(blocks)}))
    found = run_stage(
        "finetune",
        "calibrate",
        "search",
        "evaluate",
        "sensitivity",
        block_order="most-sensitive-first",
        epochs=len(blocks),
    )
    training = TrainingResult.model_validate(found["training"])
    assert training.block_order == "by predicted loss"
    assert [stage.layers for stage in training.stages] == blocks[::-1]
    assert training.first_last == "8/8"
    assert [epoch.stage for epoch in training.history] == list(range(1, len(blocks) + 1))


def test_a_recipe_with_everything_runs(run_stage: RunStage) -> None:
    found = run_stage(
        "finetune", "calibrate", "search", "evaluate", epochs=4, progressive_bits=[5, 4], optimiser="adam",
        learning_rate=1e-3, warmup_epochs=1, schedule="step", precision="bfloat16", batch_norm_batches=2, patience=3,
        augmentation="flip-crop", quantizer_weight_decay=1e-4, block_order="most-sensitive-first",
    )  # fmt: skip
    training = TrainingResult.model_validate(found["training"])
    assert training.block_order == "in execution order", "no sensitivity was given"
    assert sum(stage.epochs for stage in training.stages) == len(training.history) == 4
    assert training.diverged is None
