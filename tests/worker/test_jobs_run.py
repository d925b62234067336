"""Whole jobs on a real worker with real child processes."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from workplace import Workplace

from core.jobs.plan import PlannedTask
from core.store.repositories.results import ArtifactRepository, CandidateRepository
from core.store.repositories.uploads import DatasetRepository, ModelRepository
from core.store.tables import LOCAL_OWNER

PLAN = (
    PlannedTask("calibrate"),
    PlannedTask("search", None, (0,)),
    PlannedTask("evaluate", 0, (0, 1)),
    PlannedTask("evaluate", 1, (0, 1)),
    PlannedTask("finetune", 0, (0, 1, 2)),
    PlannedTask("finetune", 1, (0, 1, 3)),
    PlannedTask("export", 0, (0, 1, 4)),
    PlannedTask("export", 1, (0, 1, 5)),
    PlannedTask("report", None, tuple(range(8)), tolerant=True),
)


def test_a_job_runs_in_order_and_leaves_candidates_and_files(running: Workplace) -> None:
    job_id = running.job({}, PLAN)
    assert running.wait_for_end(job_id) == "succeeded"
    ran = running.traced()
    assert len(ran) == len(PLAN)
    assert (ran[0], ran[1], ran[-1]) == ("calibrate None", "search None", "report None")
    assert len(set(running.traced_pids())) <= running.settings.workers, "a job's tasks follow one another in a child"

    with running.sessions() as session:
        first, second = CandidateRepository(session, LOCAL_OWNER).of_job(job_id)
        files = ArtifactRepository(session, LOCAL_OWNER).of_job(job_id)
    assert (first.name, first.state, first.on_front) == ("point-1", "exported", True)
    assert second.on_front is False
    assert first.measured == {
        "calibrated": {"report": {"accuracy": 0.5}}, "trained": {"report": {"accuracy": 0.75}}
    }  # fmt: skip
    assert first.history == [{"epoch": 0}]
    assert first.parity == {"agreement": 1.0}
    assert {(file.candidate_id, file.filename) for file in files} == {
        (first.id, "point-1.model.onnx"), (second.id, "point-2.model.onnx")
    }  # fmt: skip
    assert running.artifacts.read(next(file for file in files if file.candidate_id == first.id).sha256) == b"onnx 0"
    report = running.tasks(job_id)[-1]
    assert report.result is not None
    assert report.result["read"] == sorted(
        [
            "calibrate",
            "search",
            *(f"{stage}/{point}" for stage in ("evaluate", "export", "finetune") for point in (0, 1)),
        ]
    )
    assert running.events(job_id, "state")[-1] == {"state": "succeeded"}


def test_a_point_that_diverged_is_marked_and_exported_all_the_same(running: Workplace) -> None:
    job_id = running.job({"finetune/1": {"training": {"diverged": "the loss is not a number"}}}, PLAN)
    assert running.wait_for_end(job_id) == "succeeded"
    with running.sessions() as session:
        first, second = CandidateRepository(session, LOCAL_OWNER).of_job(job_id)
    assert first.problem is None
    assert second.state == "exported"
    assert second.problem is not None
    assert (second.problem["code"], second.problem["detail"]) == ("diverged", "the loss is not a number")


def test_a_point_that_fails_marks_its_candidate_and_the_job_succeeds(running: Workplace) -> None:
    job_id = running.job({"finetune/1": {"raise": "diverged"}}, PLAN)
    assert running.wait_for_end(job_id) == "succeeded"
    with running.sessions() as session:
        first, second = CandidateRepository(session, LOCAL_OWNER).of_job(job_id)
    assert first.state == "exported"
    assert (second.state, (second.problem or {})["code"]) == ("failed", "diverged")
    assert second.measured == {"calibrated": {"report": {"accuracy": 0.5}}}, "what was measured before stays"
    export = running.tasks(job_id)[7]
    assert (export.state, (export.problem or {})["code"]) == ("failed", "dependency-failed")
    assert (export.problem or {})["facts"]["stage"] == "finetune"


def test_a_stage_that_fails_fails_the_job_and_the_next_job_runs(running: Workplace) -> None:
    job_id = running.job({"search": {"raise": "bug"}}, PLAN)
    assert running.wait_for_end(job_id) == "failed"
    states = [task.state for task in running.tasks(job_id)]
    assert states == ["succeeded", *["failed"] * 8]
    problem = running.tasks(job_id)[1].problem or {}
    assert problem["code"] == "task-failed"
    assert "ZeroDivisionError" in problem["detail"]
    assert any("a bug" in line for event in running.events(job_id, "log") for line in event["lines"])
    assert running.wait_for_end(running.job({})) == "succeeded"


def test_equal_inputs_are_computed_once_per_owner(workplace: Workplace, make_owner: Callable[[str], UUID]) -> None:
    workplace.start_worker("reuse")
    first = workplace.job({}, PLAN)
    assert workplace.wait_for_end(first) == "succeeded"
    ran = len(workplace.traced())
    second = workplace.job({}, PLAN)
    assert workplace.wait_for_end(second) == "succeeded"
    assert workplace.traced()[ran:] == ["report None"]
    assert [task.reused for task in workplace.tasks(second)] == [*[True] * 8, False]
    with workplace.sessions() as session:
        assert len(ArtifactRepository(session, LOCAL_OWNER).of_job(second)) == 2
    other = workplace.job({}, owner_id=make_owner("someone else"))
    workplace.wait(lambda: workplace.task(other).state == "succeeded")
    assert workplace.task(other).reused is False


def test_a_result_whose_file_is_gone_is_computed_again(workplace: Workplace) -> None:
    workplace.start_worker("reuse")
    first = workplace.job({}, PLAN)
    assert workplace.wait_for_end(first) == "succeeded"
    workplace.artifacts.delete(workplace.tasks(first)[6].files[0]["sha256"])
    second = workplace.job({}, PLAN)
    assert workplace.wait_for_end(second) == "succeeded"
    assert [task.reused for task in workplace.tasks(second)][6:8] == [False, True]


def test_uploads_are_inspected_by_a_child(running: Workplace, owner: UUID) -> None:
    stored = running.artifacts.put_stream([b"upload"])
    with running.sessions() as session, session.begin():
        model = ModelRepository(session, owner).add(name="net", filename="n.onnx", kind="onnx", stored=stored).id
        dataset = DatasetRepository(session, owner).add(name="digits", files=[("d.zip", None, stored)]).id
    running.announce(session)

    def ready() -> bool:
        with running.sessions() as session:
            models, datasets = ModelRepository(session, owner), DatasetRepository(session, owner)
            return {models.get(model).state, datasets.get(dataset).state} == {"ready"}

    running.wait(ready)
    with running.sessions() as session:
        assert ModelRepository(session, owner).get(model).inventory == {"layers": []}
        assert DatasetRepository(session, owner).get(dataset).summary == {"classes": 10}


def test_the_child_knows_no_secret(running: Workplace, tmp_path: Path) -> None:
    note = tmp_path / "environment.json"
    job_id = running.job({"calibrate": {"environment": str(note)}})
    assert running.wait_for_end(job_id) == "succeeded"
    seen = json.loads(note.read_text())
    text = json.dumps(seen["environment"])
    assert "BITFRONT" not in text
    assert "secret-token" not in text
    assert "postgres" not in text
    assert "redis" not in text.lower()
    assert seen["environment"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert seen["cwd"].startswith(str(running.settings.data_dir))


@pytest.mark.parametrize("lie", ["huge", "json", "other", "path"])
def test_what_a_child_says_is_not_believed(running: Workplace, lie: str) -> None:
    job_id = running.job({"calibrate": {"lie": lie}})
    assert running.wait_for_end(job_id) == "failed"
    assert (running.task(job_id).problem or {})["code"] == "task-failed"
    assert running.task(job_id).attempt == 1


def test_an_answer_without_its_parts_fails_the_task(running: Workplace) -> None:
    job_id = running.job({"search": {"lie": "shape"}}, PLAN[:2])
    assert running.wait_for_end(job_id) == "failed"
    assert "KeyError" in (running.tasks(job_id)[1].problem or {})["detail"]


def test_a_worker_that_has_nothing_to_do_stops_at_once_and_leaves_nothing(workplace: Workplace) -> None:
    job_id = workplace.job({})
    worker = workplace.start_worker()
    assert workplace.wait_for_end(job_id) == "succeeded"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(5) == 0
    assert list((workplace.settings.data_dir / "work").iterdir()) == []
    assert list((workplace.settings.data_dir / "checkpoints").iterdir()) == []
