"""A job whose strategies are compared: every one's front, errors where those are told, and reasons."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from core.jobs.plan import plan, search_reads_network
from core.jobs.specification import JobSpecification
from core.jobs.stages.search import COMPARED_FOLDER
from core.search.comparison import OUTCOME_FILE
from tests.harness.first_point import lenet_and_stripes, run_first_point


def specification(**search: Any) -> JobSpecification:
    return JobSpecification.model_validate({
        "model_id": UUID(int=1), "dataset_id": UUID(int=2), "bits": {"weights": [2, 4], "activations": [3, 4]},
        "calibration": {"samples": 64}, "sensitivity": {"metric": "direct", "samples": 16, "budget_s": 5},
        "search": {"points": 1, "evaluations": 4, "evaluate_by": "accuracy", **search}, "training": None,
    })  # fmt: skip


def test_a_compared_strategy_that_measures_reads_the_network() -> None:
    assert search_reads_network(specification(compare=["random"]))
    assert not search_reads_network(specification(compare=["frontier"]))
    assert not search_reads_network(specification(compare=["random"], evaluate_by="predicted"))
    assert len(plan(specification(compare=["random"]))) == len(plan(specification()))


def test_all_strategies_tell_errors_and_the_points_are_the_chosen_ones(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("job")
    results, folder = run_first_point(specification(compare=["random", "nothing"]), lenet_and_stripes(root), root)
    told = results["search"]["comparison"]
    exact, random, nothing = told["outcomes"]
    assert [each["strategy"] for each in told["outcomes"]] == ["exact", "random", "nothing"]
    assert told["tells"] == "error"
    assert all(0 <= point["measured_error"] <= 1 for each in (exact, random) for point in each["front"])
    assert (exact["evaluations"], random["evaluations"]) == (0, 4)
    assert nothing["reason"]
    searched = [each for each in results["search"]["candidates"] if each["origin"] == "search"]
    assert searched[0]["predicted"]["loss_increase"] == pytest.approx(exact["front"][0]["predicted_loss"])
    assert list(folder.parent.rglob(f"{COMPARED_FOLDER}/random/{OUTCOME_FILE}"))
