"""The stages of a job one after another, up to the first point's files, on a small network and striped images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
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


def stripes(count: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 10, count)
    images = chance.integers(0, 60, (count, 28, 28, 1))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 6] += 160
    return images.astype(np.uint8), labels


def lenet_and_stripes(folder: Path) -> tuple[ModelInput, DatasetInput]:
    """A LeNet without norms, not trained, and images that tell their class by the place of a stripe."""
    torch.manual_seed(0)
    network = ARCHITECTURES["lenet"].build(SHAPES)
    save_file(network.state_dict(), folder / "lenet.safetensors")
    train, test = stripes(96, 0), stripes(64, 1)
    np.savez(folder / "data.npz", train_x=train[0], train_y=train[1], test_x=test[0], test_y=test[1])
    model = ModelInput(path=folder / "lenet.safetensors", filename="lenet.safetensors", architecture="lenet")
    return model, DatasetInput(files=[DatasetFileInput(path=folder / "data.npz", filename="data.npz")])


def run_first_point(
    job: JobSpecification, uploads: tuple[ModelInput, DatasetInput | None], root: Path
) -> tuple[dict[str, Any], Path]:
    """Each stage's result, and the folder of the first point's files."""
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
