"""Metrics compared in a job: from the traces of the float network to what the page reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.figures import figure
from core.figures.job_report import job_report
from core.jobs.plan import plan, upstream_name
from core.jobs.specification import JobSpecification
from core.jobs.stages.run import run_task
from core.jobs.task import TaskInput
from tests.harness.first_point import lenet_and_stripes
from tests.harness.small_networks import Silent

COMPARED = ("hessian-trace", "signal-to-noise")
BEFORE_POINTS = {"inspect", "calibrate", "traces", "sensitivity", "costs", "search"}


def specification() -> JobSpecification:
    return JobSpecification.model_validate({
        "model_id": UUID(int=1), "dataset_id": UUID(int=2), "bits": {"weights": [3, 5], "activations": [4]},
        "calibration": {"samples": 32}, "search": {"points": 1}, "training": None,
        "sensitivity": {"metric": "fisher", "per_channel": True, "samples": 16, "budget_s": 1, "compare": COMPARED},
    })  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root, job = tmp_path_factory.mktemp("job"), specification()
    model, dataset = lenet_and_stripes(root)
    tasks = plan(job)
    for position, task in enumerate(tasks):
        if task.stage in BEFORE_POINTS:
            upstream = {upstream_name(tasks[i].stage, None, None): root / str(i) for i in task.depends_on}
            run_task(TaskInput(
                task_id=str(position), stage=task.stage, specification=job.model_dump(mode="json"), model=model,
                dataset=dataset, upstream=upstream,
                directory=root / str(position), checkpoint_directory=root / f"{position}-checkpoints",
            ), Silent())  # fmt: skip
    return {task.stage: _result(root / str(place)) for place, task in enumerate(tasks) if task.stage in BEFORE_POINTS}


def _result(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())


def test_traces_are_found_for_a_metric_that_is_only_compared(results: dict[str, Any]) -> None:
    assert {task.stage for task in plan(specification())} >= {"traces"}
    assert set(results["traces"]["traces"]) == {"conv1", "conv2", "fc1", "fc2", "fc3"}
    assert len(results["traces"]["traces"]["conv1"]["channels"]) == 4
    assert results["traces"]["seconds"] > 0


def test_the_result_has_metrics_channels_and_errors(results: dict[str, Any]) -> None:
    found = results["sensitivity"]["sensitivity"]
    assert [each["metric"] for each in found["comparison"]["metrics"]] == ["fisher", *COMPARED]
    assert found["comparison"]["weight_bits"] == 3, "the fewest that are searched"
    assert {bits: len(losses) for bits, losses in found["channels"]["conv2"].items()}["3"] == 6
    assert 0 <= found["reached_error"] <= found["worst_error"]
    assert found["notes"][0].startswith("standard error within 1 s")


def test_the_search_and_the_page_read_it(results: dict[str, Any]) -> None:
    assert results["search"]["candidates"]
    job = specification().model_dump(mode="json")
    report = job_report(results, job)
    assert report["sensitivity"] is not None
    assert "channels" not in report["sensitivity"], "too much for a page"
    drawn = figure("metrics", {"specification": job}, [], report)
    assert [row[0] for row in drawn.rows][1:] == ["fisher", *COMPARED]
