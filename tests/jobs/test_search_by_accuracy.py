"""A search that is told the accuracy of calibrated candidates: what it reads, keeps, and goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.jobs.plan import plan
from core.jobs.specification import JobSpecification
from core.jobs.stages.search import MEASURED_FOLDER
from tests.harness.first_point import lenet_and_stripes, run_first_point

ID = UUID(int=1)


def specification(**search: Any) -> JobSpecification:
    return JobSpecification.model_validate({
        "model_id": ID, "dataset_id": UUID(int=2), "bits": {"weights": [2, 4], "activations": [3, 4]},
        "calibration": {"samples": 64}, "sensitivity": {"metric": "direct", "samples": 16, "budget_s": 5},
        "search": {"points": 1, "strategy": "random", "evaluations": 4, "evaluate_by": "accuracy", **search},
        "training": None,
    })  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    root = tmp_path_factory.mktemp("job")
    return run_first_point(specification(), lenet_and_stripes(root), root)


def reads(job: JobSpecification) -> set[str]:
    tasks = plan(job)
    [search] = [task for task in tasks if task.stage == "search"]
    return {tasks[position].stage for position in search.depends_on}


def test_only_a_search_that_measures_waits_for_calibration() -> None:
    assert "calibrate" in reads(specification())
    assert "calibrate" not in reads(specification(evaluate_by="predicted"))
    assert "calibrate" not in reads(specification(strategy="exact"))


def test_what_is_chosen_was_measured_and_every_value_is_kept(found: tuple[dict[str, Any], Path]) -> None:
    results, folder = found
    search = results["search"]
    [candidate] = [each for each in search["candidates"] if each["origin"] == "search"]
    errors = [json.loads(each.read_text()) for each in folder.parent.rglob(f"{MEASURED_FOLDER}/*.json")]
    assert len(errors) == search["evaluations"] == 4
    accuracy = results["evaluate"]["measured"]["calibrated"]["select"]["accuracy"]
    assert candidate["point"] == 0
    assert 1 - accuracy == pytest.approx(min(errors))
    assert any("select" in note for note in search["notes"])
