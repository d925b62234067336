"""A whole job on a network without norms, with a method that needs them: each stage sees the same network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from core.graph.architectures.registry import ARCHITECTURES
from core.jobs.plan import plan, upstream_name
from core.jobs.specification import JobSpecification
from core.jobs.stages.run import run_task
from core.jobs.task import DatasetFileInput, DatasetInput, ModelInput, TaskInput
from tests.harness.small_networks import Silent

SHAPES = {"conv1.weight": (4, 1, 5, 5), "conv2.weight": (6, 4, 5, 5), "fc1.weight": (16, 6 * 25),
          "fc2.weight": (12, 16), "fc3.weight": (10, 12)}  # fmt: skip
INSERTED = {"conv1": "inserted_norms.conv1", "conv2": "inserted_norms.conv2", "fc1": "inserted_norms.fc1",
            "fc2": "inserted_norms.fc2", "fc3": None}  # fmt: skip


def specification(method: str) -> JobSpecification:
    return JobSpecification.model_validate({
        "model_id": UUID(int=1), "dataset_id": UUID(int=2), "bits": {"weights": [3, 4], "activations": [4]},
        "quantizer": {"method": method, "granularity": "tensor", "insert_normalisation": True},
        "calibration": {"samples": 64}, "sensitivity": {"metric": "direct", "samples": 16, "budget_s": 5},
        "search": {"points": 1}, "training": {"epochs": 1, "batch_size": 32},
    })  # fmt: skip


def stripes(count: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 10, count)
    images = chance.integers(0, 60, (count, 28, 28, 1))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 6] += 160
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelInput, DatasetInput]:
    folder = tmp_path_factory.mktemp("uploads")
    torch.manual_seed(0)
    network = ARCHITECTURES["lenet"].build(SHAPES)
    save_file(network.state_dict(), folder / "lenet.safetensors")
    train, test = stripes(96, 0), stripes(64, 1)
    np.savez(folder / "data.npz", train_x=train[0], train_y=train[1], test_x=test[0], test_y=test[1])
    model = ModelInput(path=folder / "lenet.safetensors", filename="lenet.safetensors", architecture="lenet")
    return model, DatasetInput(files=[DatasetFileInput(path=folder / "data.npz", filename="data.npz")])


@pytest.fixture(scope="module", params=["dorefa", "pact"])
def results(
    request: pytest.FixtureRequest, uploads: tuple[ModelInput, DatasetInput], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """Each stage's result, and the folder of the first point's files."""
    job = specification(request.param)
    root = tmp_path_factory.mktemp("job")
    tasks, found = plan(job), {}
    for position, task in enumerate(tasks):
        if task.point not in (None, 0) or task.stage == "report":
            continue
        upstream = {upstream_name(tasks[i].stage, tasks[i].point, task.point): root / str(i) for i in task.depends_on}
        directory = root / str(position)
        run_task(TaskInput(
            task_id=str(position), stage=task.stage, point=task.point, specification=job.model_dump(mode="json"),
            model=uploads[0], dataset=uploads[1], upstream=upstream, directory=directory,
            checkpoint_directory=directory / "checkpoints",
        ), Silent())  # fmt: skip
        found[task.stage] = json.loads((directory / "result.json").read_text())
        last = directory
    return found, last


def test_the_inventory_of_the_job_names_the_norms(results: tuple[dict[str, Any], Path]) -> None:
    layers = results[0]["inspect"]["inventory"]["layers"]
    assert {layer["name"]: layer["batch_norm"] for layer in layers} == INSERTED


def test_calibration_leaves_what_it_measured_for_the_stages_after_it(results: tuple[dict[str, Any], Path]) -> None:
    statistics = results[0]["calibrate"]["output_statistics"]
    assert set(statistics) == {name for name, norm in INSERTED.items() if norm}
    assert len(statistics["conv1"]["mean"]) == len(statistics["conv1"]["variance"])
    assert set(results[0]["calibrate"]["calibration"]["sites"]) >= {
        layer["reads"] for layer in results[0]["inspect"]["inventory"]["layers"]
    }


def test_a_point_is_evaluated_trained_and_exported(results: tuple[dict[str, Any], Path]) -> None:
    found, folder = results
    assert found["evaluate"]["measured"]["calibrated"]["report"]["samples"] > 0
    assert len(found["finetune"]["training"]["history"]) == 1
    assert found["export"]["parity"]["comparisons"][0]["agreement"] == 1
    onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def test_an_export_leaves_every_file_and_both_reports(results: tuple[dict[str, Any], Path]) -> None:
    found, folder = results
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "model.onnx", "model.integer.onnx", "model.packed.safetensors", "model.c.zip", "policy.json", "policy.csv",
        "parity.json", "speed.json",
    }  # fmt: skip
    assert json.loads((folder / "parity.json").read_text()) == found["export"]["parity"]
    assert json.loads((folder / "speed.json").read_text()) == found["export"]["speed"]
    assert found["export"]["speed"]["provenance"] == "measured"
    exact = [each for each in found["export"]["parity"]["comparisons"] if each["name"] == "executor-deploy"]
    assert exact[0]["outputs_equal"] == exact[0]["outputs"] > 0
