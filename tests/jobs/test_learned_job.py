"""A search that trains within a job: it reads the network and its images, and goes on where it was cut short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from deploy_networks import quantized, uniform_policy
from small_networks import Silent

from core.deploy.onnx_qdq import export_onnx_qdq
from core.jobs.plan import plan
from core.jobs.specification import JobSpecification
from core.jobs.stages.run import run_task
from core.jobs.task import DatasetFileInput, DatasetInput, ModelInput, TaskInput

CLASSES = 5


def specification(strategy: str, **search: Any) -> JobSpecification:
    return JobSpecification.model_validate({
        "model_id": UUID(int=1), "dataset_id": UUID(int=2), "calibration": {"samples": 64}, "training": None,
        "sensitivity": {"metric": "direct", "samples": 16, "budget_s": 5},
        "search": {"points": 3, "axis": "bit-operations", "strategy": strategy, **search},
    })  # fmt: skip


def write_inputs(root: Path) -> None:
    case = quantized("depthwise", lambda loaded: uniform_policy(loaded, 32, 32, 32))
    export_onnx_qdq(case.model, case.loaded.inventory, case.policy, root / "net.onnx")
    chance = np.random.default_rng(0)
    images, labels = chance.integers(0, 255, (120, 12, 12, 3)).astype(np.uint8), chance.integers(0, CLASSES, 120)
    np.savez(root / "data.npz", train_x=images[:80], train_y=labels[:80], test_x=images[80:], test_y=labels[80:])


def run_to_search(root: Path, job: JobSpecification) -> dict[str, Any]:
    """The result of the search, and of what it depends on."""
    tasks = plan(job)
    last = next(position for position, task in enumerate(tasks) if task.stage == "search")
    for position, task in enumerate(tasks[: last + 1]):
        folder = root / str(position)
        run_task(TaskInput(
            task_id=str(position), stage=task.stage, specification=job.model_dump(mode="json"), directory=folder,
            model=ModelInput(path=root / "net.onnx", filename="net.onnx"),
            dataset=DatasetInput(files=[DatasetFileInput(path=root / "data.npz", filename="data.npz")]),
            upstream={tasks[i].stage: root / str(i) for i in task.depends_on},
            checkpoint_directory=folder / "checkpoints",
        ), Silent())  # fmt: skip
    result: dict[str, Any] = json.loads((root / str(last) / "result.json").read_text())
    assert (root / str(last) / "checkpoints" / "fracbits-1.json").exists()
    return result


@pytest.mark.parametrize("method", ["lsq", "dorefa"])
def test_the_policy_of_a_job_falls_out_of_training(method: str, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    job = specification("fracbits", settings={"epochs": 1, "images": 64, "batch_size": 32})
    job = job.model_copy(
        update={
            "quantizer": job.quantizer.model_copy(
                update={"method": method, "insert_normalisation": method == "dorefa", "granularity": "tensor"}
            )
        }
    )
    result = run_to_search(tmp_path, job)
    operations = [each["bit_operations"] for each in result["candidates"] if each["origin"] == "search"]
    assert operations == sorted(operations)
    assert len(operations) == 3
    assert "of the budget in the last epoch" in result["notes"][1]
