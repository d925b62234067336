from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import ValidationError

from core.catalogue import cards_by_id
from core.jobs.plan import BASELINE_BITS, baseline_bits, plan, policy_in_slot, slot_origin, slots, upstream_name
from core.jobs.specification import JobSpecification

ID = UUID(int=1)
OWN = {"layers": {"conv": {"weights": 4, "activations": 4}}}


def specification(**parts: object) -> JobSpecification:
    return JobSpecification.model_validate({"model_id": ID, "dataset_id": ID, **parts})


def test_every_task_depends_only_on_tasks_before_it() -> None:
    for position, task in enumerate(plan(specification())):
        assert all(dependency < position for dependency in task.depends_on)


def test_every_slot_is_evaluated_trained_and_exported_once() -> None:
    job = specification(search={"points": 3})
    tasks = plan(job)
    for stage in ("evaluate", "finetune", "export"):
        assert [task.point for task in tasks if task.stage == stage] == list(range(3 + len(BASELINE_BITS)))
    assert slots(job) == 3 + len(BASELINE_BITS)


def test_without_training_nothing_is_trained_and_export_follows_evaluation() -> None:
    tasks = plan(specification(training=None))
    assert not [task for task in tasks if task.stage == "finetune"]
    export = next(task for task in tasks if task.stage == "export")
    assert {tasks[position].stage for position in export.depends_on} == {"calibrate", "search", "evaluate"}


@pytest.mark.parametrize(
    ("search", "reads"),
    [
        ({"strategy": "exact"}, False),
        ({"strategy": "exact", "evaluate_by": "accuracy"}, False),
        ({"strategy": "nsga2"}, False),
        ({"strategy": "nsga2", "evaluate_by": "accuracy"}, True),
        ({"strategy": "fracbits"}, True),
    ],
)
def test_only_a_search_that_trains_or_measures_waits_for_calibration(search: dict[str, str], reads: bool) -> None:
    tasks = plan(specification(search=search))
    [found] = [task for task in tasks if task.stage == "search"]
    assert ("calibrate" in {tasks[position].stage for position in found.depends_on}) == reads


def test_with_adabits_one_training_stands_before_all_points_and_baselines_are_its_widths() -> None:
    job = specification(quantizer={"method": "adabits", "settings": {"bits": "2,8,4"}}, search={"points": 2})
    tasks = plan(job)
    [joint] = [position for position, task in enumerate(tasks) if task.stage == "joint"]
    assert tasks[joint].point is None
    assert {tasks[position].stage for position in tasks[joint].depends_on} == {"calibrate", "search"}
    assert all(joint in task.depends_on for task in tasks if task.stage == "finetune")
    assert [slot_origin(job, point)[1] for point in range(slots(job))] == [
        "point-1", "point-2", "uniform-8", "uniform-4", "uniform-2"
    ]  # fmt: skip
    assert "joint" not in {task.stage for task in plan(specification())}
    assert "joint" not in {task.stage for task in plan(specification(quantizer={"method": "adabits"}, training=None))}


def test_baselines_have_only_widths_that_the_method_has(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = cards_by_id("methods")
    few = cards["lsq"] | {"id": "few", "weight_bits": [1, 2, 3, 4, 6], "activation_bits": [2, 4, 5, 6, 7, 8]}
    monkeypatch.setattr("core.jobs.plan.cards_by_id", lambda _: {**cards, "few": few})
    job = specification(quantizer={"method": "few"}, search={"points": 1}, policies=[OWN])
    assert [slot_origin(job, point)[1] for point in range(slots(job))] == [
        "point-1", "uniform-6", "uniform-4", "uniform-2", "own-1"
    ]  # fmt: skip
    assert len([task for task in plan(job) if task.stage == "evaluate"]) == slots(job)


@pytest.mark.parametrize("method", sorted(cards_by_id("methods")))
def test_baselines_are_of_widths_that_the_method_has_and_begin_at_eight(method: str) -> None:
    card = cards_by_id("methods")[method]
    widths = baseline_bits(specification(quantizer={"method": method}))
    assert set(widths) <= set(card["weight_bits"]) & set(card["activation_bits"])
    assert 8 in widths


def test_traces_are_taken_only_for_the_metric_that_needs_them() -> None:
    assert "traces" in {task.stage for task in plan(specification())}
    assert "traces" not in {task.stage for task in plan(specification(sensitivity={"metric": "direct"}))}


def test_only_an_order_of_blocks_makes_training_wait_for_the_sensitivity() -> None:
    for order, reads in (("together", False), ("most-sensitive-first", True)):
        tasks = plan(specification(training={"block_order": order}))
        trained = [task for task in tasks if task.stage == "finetune"]
        assert {"sensitivity" in {tasks[position].stage for position in task.depends_on} for task in trained} == {reads}


def test_only_the_report_tolerates_failed_points_and_it_comes_last() -> None:
    tasks = plan(specification())
    assert [task.stage for task in tasks if task.tolerant] == ["report"]
    assert tasks[-1].stage == "report"
    assert set(tasks[-1].depends_on) == set(range(len(tasks) - 1))


def test_slots_hold_points_then_baselines_then_own_policies() -> None:
    job = specification(search={"points": 2}, policies=[OWN])
    names = [slot_origin(job, point) for point in range(slots(job))]
    assert names[:3] == [("search", "point-1"), ("search", "point-2"), ("uniform", "uniform-8")]
    assert names[-2:] == [("uniform", "uniform-2"), ("own", "own-1")]


def test_an_empty_slot_has_no_policy() -> None:
    result = {"candidates": [{"point": 1, "policy": {"layers": {}}}]}
    assert policy_in_slot(result, 0) is None
    assert policy_in_slot(result, 1) == {"layers": {}}


def test_a_report_tells_points_apart_and_a_point_sees_its_own() -> None:
    assert upstream_name("search", None, 3) == "search"
    assert upstream_name("finetune", 3, 3) == "finetune"
    assert upstream_name("finetune", 3, None) == "finetune/3"


@pytest.mark.parametrize(
    "part",
    [
        {"path": "/etc/passwd"},
        {"bits": {"weights": [0]}},
        {"bits": {"weights": [9]}},
        {"bits": {"weights": []}},
        {"search": {"points": 10_000}},
        {"search": {"constraints": [{"metric": "latency", "at_most": 0.6, "relative_to": "uniform-8"}]}},
        {"search": {"constraints": [{"metric": "size", "at_most": 0.6}]}},
        {"search": {"constraints": [{"metric": "size", "at_most": float("inf"), "unit": "MB"}]}},
        {"training": {"epochs": 10**9}},
        {"targets": []},
        {"seed": -1},
    ],
)
def test_what_cannot_be_run_is_refused(part: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        specification(**part)
