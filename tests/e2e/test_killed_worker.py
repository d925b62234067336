"""Processes that are killed while the real engine trains the example: each job ends as if nothing had happened.

One job is run unbroken. Those that follow use what it computed again, except for the trainings that are to be broken,
whose outputs are forgotten first: so all begin from the same policies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from places import gone
from sqlalchemy import delete, select
from workplace import REAL_WORKER, Workplace

from bitfront.example import example_dataset_path, example_model_path, example_preprocessing
from bitfront.servers import EmbeddedPostgres, EmbeddedRedis
from core.jobs.plan import plan, slots
from core.jobs.specification import (
    CalibrationChoice,
    Constraint,
    JobSpecification,
    SearchChoice,
    SensitivityChoice,
    TrainingChoice,
)
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import make_engine, make_sessions
from core.store.repositories.results import ArtifactRepository, CandidateRepository
from core.store.repositories.uploads import DatasetRepository, ModelRepository
from core.store.tables import LOCAL_OWNER, StageResult, Task
from migrations.upgrade import upgrade

EPOCHS = 6
JOB_LIMIT_S = 120
CANCEL_LIMIT_S = 10
FOUND, UNIFORM_4, UNIFORM_2 = 0, 4, 6  # slots of the search's point and of two baselines


@pytest.fixture(scope="module")
def workplace(
    postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workplace]:
    """An installation whose workers run the engine."""
    postgres.create_database("killed_workers")
    url = postgres.url("killed_workers")
    upgrade(url)
    redis_server.empty()
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("killed") / "data", database_url=url, redis_url=redis_server.url, workers=2,
        device="cpu", lease_s=3, heartbeat_s=0.3, sweep_s=0.3,
    )  # fmt: skip
    engine = make_engine(url)
    place = Workplace(settings, make_sessions(engine), ArtifactStore.open(settings), REAL_WORKER)
    yield place
    place.close()
    engine.dispose()


@dataclass(frozen=True)
class Unbroken:
    """The job that nothing happened to."""

    specification: JobSpecification
    job_id: UUID
    tasks: dict[tuple[str, int | None], Task]


@dataclass(frozen=True)
class Attempt:
    """One attempt at a training."""

    task_id: UUID
    point: int
    token: int

    def epochs_kept(self, workplace: Workplace) -> int:
        """Epochs in its checkpoint."""
        folder = workplace.settings.data_dir / "checkpoints" / str(self.task_id) / str(self.token)
        with contextlib.suppress(FileNotFoundError):
            return len(json.loads((folder / "checkpoint.json").read_text())["history"])
        return 0

    def child(self, workplace: Workplace) -> int:
        """The process that runs it, which works where its files lie."""
        (files,) = (workplace.settings.data_dir / "work").glob(f"*/*/{self.task_id}-{self.token}")
        (child,) = (pid for pid in children_of(workplace) if Path(f"/proc/{pid}/cwd").readlink() == files.parent)
        return child


@pytest.fixture(scope="module")
def unbroken(workplace: Workplace) -> Unbroken:
    model_id, dataset_id = upload_example(workplace)
    limit = Constraint(metric="size", relative_to="uniform-8", at_most=0.6)
    specification = JobSpecification(
        model_id=model_id, dataset_id=dataset_id, calibration=CalibrationChoice(samples=64),
        sensitivity=SensitivityChoice(budget_s=1, samples=32), search=SearchChoice(points=1, constraints=(limit,)),
        training=TrainingChoice(epochs=EPOCHS),
    )  # fmt: skip
    job_id = workplace.submit(specification, plan(specification))
    ensure_worker(workplace)
    assert workplace.wait_for_end(job_id, JOB_LIMIT_S) == "succeeded"
    assert {task.attempt for task in workplace.tasks(job_id)} == {1}
    return Unbroken(specification, job_id, by_name(workplace, job_id))


def upload_example(workplace: Workplace) -> tuple[UUID, UUID]:
    """The example's network and images, which a worker inspects before it comes to any job."""
    model, images = (workplace.artifacts.put_file(path) for path in (example_model_path(), example_dataset_path()))
    preprocessing = example_preprocessing().model_dump(mode="json")
    with workplace.sessions() as session, session.begin():
        model_id = (
            ModelRepository(session, LOCAL_OWNER)
            .add(name="net", filename="net.onnx", kind="onnx", stored=model, preprocessing=preprocessing)
            .id
        )
        dataset_id = (
            DatasetRepository(session, LOCAL_OWNER)
            .add(name="digits", files=[("digits.npz", None, images)], preprocessing=preprocessing)
            .id
        )
    workplace.announce(session)
    return model_id, dataset_id


def ensure_worker(workplace: Workplace) -> None:
    if all(worker.poll() is not None for worker in workplace.workers):
        workplace.start_worker()


def by_name(workplace: Workplace, job_id: UUID) -> dict[tuple[str, int | None], Task]:
    return {(task.stage, task.point): task for task in workplace.tasks(job_id)}


def run_again(workplace: Workplace, unbroken: Unbroken, points: Collection[int]) -> UUID:
    """The same job once more, in which these points are trained and exported anew."""
    anew = [
        unbroken.tasks[stage, point].input_key
        for stage in ("finetune", "export")
        for point in points
    ]  # fmt: skip
    with workplace.sessions() as session, session.begin():
        session.execute(delete(StageResult).where(StageResult.input_key.in_(anew)))
    job_id = workplace.submit(unbroken.specification, plan(unbroken.specification))
    ensure_worker(workplace)
    return job_id


def training(workplace: Workplace, job_id: UUID) -> Attempt:
    """The first attempt at a training of the job that has written a checkpoint and goes on."""
    query = select(Task.id, Task.point, Task.fencing_token).where(
        Task.job_id == job_id, Task.stage == "finetune", Task.state == "running"
    )
    found: list[Attempt] = []

    def one() -> bool:
        with workplace.sessions() as session:
            attempts = [Attempt(*row) for row in session.execute(query)]
        found.extend(attempt for attempt in attempts if attempt.epochs_kept(workplace))
        return bool(found)

    workplace.wait(one, JOB_LIMIT_S)
    return found[0]


def children_of(workplace: Workplace) -> list[int]:
    """All processes that run the engine: they work in folders beneath the workers' own."""
    folder, found = workplace.settings.data_dir / "work", []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
    return found


def assert_as_unbroken(
    workplace: Workplace, unbroken: Unbroken, job_id: UUID, broken: set[tuple[str, int | None]]
) -> None:
    """The job's outputs are the unbroken one's; the tasks that were `broken` took a second attempt, no other did."""
    tasks = by_name(workplace, job_id)
    assert {name: task.attempt for name, task in tasks.items() if task.attempt != 1} == dict.fromkeys(broken, 2)
    for (stage, point), task in tasks.items():
        before = unbroken.tasks[stage, point]
        if stage == "finetune":
            assert history(task) == history(before)
            assert output(task)["measured"] == output(before)["measured"]
            assert sums(task, "trained-weights") == sums(before, "trained-weights")
        if stage == "export":
            assert sums(task, "onnx-qdq") == sums(before, "onnx-qdq")
    assert_each_once(workplace, job_id, slots(unbroken.specification))


def resumed_from(workplace: Workplace, job_id: UUID, point: int) -> int:
    """The epoch whose checkpoint a training went on from."""
    task = by_name(workplace, job_id)["finetune", point]
    assert not task.reused
    return int(output(task)["training"]["resumed_from_epoch"])


def assert_each_once(workplace: Workplace, job_id: UUID, candidate_count: int) -> None:
    """No epoch was kept twice, no task ended twice, and no row was written twice."""
    epochs = Counter(
        (event["task_id"], event["step"]) for event in workplace.events(job_id, "metric") if event["name"] == "loss"
    )
    ends = Counter(
        event["task_id"] for event in workplace.events(job_id, "task") if event["state"] == "succeeded"
    )  # fmt: skip
    assert set(epochs.values()) == {1}
    assert ends == dict.fromkeys((str(task.id) for task in workplace.tasks(job_id)), 1)
    assert [event["state"] for event in workplace.events(job_id, "state")].count("succeeded") == 1
    with workplace.sessions() as session:
        candidates = CandidateRepository(session, LOCAL_OWNER).of_job(job_id)
        files = ArtifactRepository(session, LOCAL_OWNER).of_job(job_id)
    assert [candidate.point for candidate in candidates] == list(range(candidate_count))
    assert {candidate.state for candidate in candidates} == {"exported"}
    assert set(Counter(file.filename for file in files).values()) == {1}


def output(task: Task) -> dict[str, Any]:
    assert task.result is not None
    return task.result


def history(task: Task) -> list[tuple[int, float, float]]:
    """Epoch, loss and accuracy, of each epoch; its seconds may differ."""
    epochs = output(task)["training"]["history"]
    assert len(epochs) == EPOCHS
    return [(epoch["epoch"], epoch["loss"], epoch["select_accuracy"]) for epoch in epochs]


def sums(task: Task, kind: str) -> list[str]:
    """SHA-256 of the task's files of a kind, of which there is at least one."""
    found = [file["sha256"] for file in task.files if file["kind"] == kind]
    assert found
    return found


def test_a_training_whose_process_is_killed_ends_as_an_unbroken_one(workplace: Workplace, unbroken: Unbroken) -> None:
    job_id = run_again(workplace, unbroken, [UNIFORM_4])
    attempt = training(workplace, job_id)
    os.kill(attempt.child(workplace), signal.SIGKILL)
    kept = attempt.epochs_kept(workplace)
    assert workplace.wait_for_end(job_id, JOB_LIMIT_S) == "succeeded"
    assert_as_unbroken(workplace, unbroken, job_id, {("finetune", UNIFORM_4)})
    assert resumed_from(workplace, job_id, UNIFORM_4) == kept > 0


def test_trainings_whose_worker_is_killed_end_as_unbroken_ones(workplace: Workplace, unbroken: Unbroken) -> None:
    job_id = run_again(workplace, unbroken, [FOUND, UNIFORM_2])
    attempt, children = training(workplace, job_id), children_of(workplace)
    workplace.workers[-1].kill()
    workplace.workers[-1].wait(10)
    workplace.wait(lambda: all(map(gone, children)), within_s=10)
    kept = attempt.epochs_kept(workplace)
    broken = {(task.stage, task.point) for task in workplace.tasks(job_id) if task.state == "running"}
    assert ("finetune", attempt.point) in broken
    ensure_worker(workplace)
    assert workplace.wait_for_end(job_id, JOB_LIMIT_S) == "succeeded"
    assert_as_unbroken(workplace, unbroken, job_id, broken)
    assert resumed_from(workplace, job_id, attempt.point) == kept > 0


def test_cancelling_a_training_ends_its_process_in_time(workplace: Workplace, unbroken: Unbroken) -> None:
    job_id = run_again(workplace, unbroken, [UNIFORM_4])
    attempt = training(workplace, job_id)
    child, begun = attempt.child(workplace), time.monotonic()
    workplace.cancel(job_id)
    workplace.wait(lambda: gone(child), CANCEL_LIMIT_S)
    assert workplace.wait_for_end(job_id, CANCEL_LIMIT_S) == "cancelled"
    assert time.monotonic() - begun < CANCEL_LIMIT_S
    assert by_name(workplace, job_id)["finetune", UNIFORM_4].state == "cancelled"
    workplace.wait(lambda: not attempt.epochs_kept(workplace), within_s=2)


def test_settings_as_shipped_end_a_cancelled_process_in_time() -> None:
    shipped = {name: field.default for name, field in Settings.model_fields.items()}
    assert shipped["heartbeat_s"] + shipped["cancel_grace_s"] < CANCEL_LIMIT_S
