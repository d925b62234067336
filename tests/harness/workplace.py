"""Jobs with a few tasks, and workers to run them: real processes, real servers, stages that do as they are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.jobs.plan import PlannedTask
from core.jobs.specification import JobSpecification
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import Sessions, take_queued
from core.store.job_state import ENDED
from core.store.repositories.events import EventRepository
from core.store.repositories.jobs import JobRepository, create_job
from core.store.repositories.uploads import DatasetRepository, ModelRepository
from core.store.tables import LOCAL_OWNER, Task
from worker.doorbell import Doorbell

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FAKE_WORKER = (sys.executable, str(HERE / "worker_process.py"))
REAL_WORKER = (sys.executable, "-m", "worker")
ONE = (PlannedTask("calibrate"),)


class Workplace:
    """One installation under test. Its workers run the fake stages unless `worker` names other ones."""

    def __init__(
        self, settings: Settings, sessions: Sessions, artifacts: ArtifactStore, worker: Sequence[str] = FAKE_WORKER
    ) -> None:
        self.command = worker
        self.settings = settings
        self.sessions = sessions
        self.artifacts = artifacts
        self.doorbell = Doorbell(settings.redis_url or "")
        self.workers: list[subprocess.Popen[bytes]] = []
        self.trace = settings.data_dir / "trace.txt"

    def upload(self, owner_id: UUID = LOCAL_OWNER) -> tuple[UUID, UUID]:
        """A model and a data set that are ready."""
        stored = self.artifacts.put_stream([b"weights"])
        with self.sessions() as session, session.begin():
            model = ModelRepository(session, owner_id).add(name="net", filename="n.onnx", kind="onnx", stored=stored)
            dataset = DatasetRepository(session, owner_id).add(name="digits", files=[("d.npz", None, stored)])
            model.state = dataset.state = "ready"
            for task in session.scalars(select(Task).where(Task.job_id.is_(None))):
                session.delete(task)
            return model.id, dataset.id

    def job(
        self,
        behaviour: dict[str, Any],
        plan: Sequence[PlannedTask] = ONE,
        *,
        announce: bool = True,
        owner_id: UUID = LOCAL_OWNER,
    ) -> UUID:
        """A job of these tasks; `behaviour` says what each stage does."""
        model_id, dataset_id = self.upload(owner_id)
        behaviour = {"trace": str(self.trace), **behaviour}
        specification = JobSpecification(model_id=model_id, dataset_id=dataset_id).model_copy(
            update={"name": json.dumps(behaviour)}
        )
        return self.submit(specification, plan, announce=announce, owner_id=owner_id)

    def submit(
        self,
        specification: JobSpecification,
        plan: Sequence[PlannedTask],
        *,
        announce: bool = True,
        owner_id: UUID = LOCAL_OWNER,
    ) -> UUID:
        """A job of this specification and these tasks."""
        with self.sessions() as session, session.begin():
            job_id = create_job(session, owner_id, specification, plan).id
        if announce:
            self.announce(session)
        return job_id

    def announce(self, session: Session) -> None:
        """Rings for the tasks that a committed session has queued."""
        for task_id in take_queued(session):
            self.doorbell.ring(task_id)

    def start_worker(self, *arguments: str, **changes: object) -> subprocess.Popen[bytes]:
        """A worker process, its settings changed by name."""
        settings = {
            f"BITFRONT_{name.upper()}": str(changes.get(name, getattr(self.settings, name)))
            for name in (
                "data_dir", "database_url", "redis_url", "workers", "device", "lease_s", "heartbeat_s", "sweep_s",
                "cancel_grace_s", "max_attempts",
            )
        }  # fmt: skip
        log = (self.settings.data_dir / f"worker{len(self.workers)}.log").open("wb")
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "BITFRONT_TOKEN": "secret-token-of-a-test"}
        process = subprocess.Popen(
            [*self.command, *arguments],
            env=environment | settings, stderr=log, stdout=log, start_new_session=True,
        )  # fmt: skip
        log.close()
        self.workers.append(process)
        return process

    def state(self, job_id: UUID) -> str:
        with self.sessions() as session:
            return JobRepository(session, LOCAL_OWNER).get(job_id).state

    def tasks(self, job_id: UUID) -> list[Task]:
        with self.sessions() as session:
            return list(session.scalars(select(Task).where(Task.job_id == job_id).order_by(Task.position)))

    def task(self, job_id: UUID) -> Task:
        return self.tasks(job_id)[0]

    def cancel(self, job_id: UUID) -> str:
        with self.sessions() as session, session.begin():
            return JobRepository(session, LOCAL_OWNER).request_cancel(job_id).state

    def wait(self, condition: Callable[[], object], within_s: float = 15.0) -> None:
        """Returns when the condition holds; fails with the workers' logs when it does not in time."""
        begun = time.monotonic()
        while not condition():
            if time.monotonic() - begun > within_s:
                logs = "\n".join(path.read_text() for path in self.settings.data_dir.glob("worker*.log"))
                pytest.fail(f"it did not happen within {within_s} s; the workers said:\n{logs}")
            time.sleep(min(0.1, max(0.02, (time.monotonic() - begun) / 20)))

    def wait_for_end(self, job_id: UUID, within_s: float = 15.0) -> str:
        self.wait(lambda: self.state(job_id) in ENDED, within_s)
        return self.state(job_id)

    def wait_until_running(self, job_id: UUID) -> None:
        """Until a child works on the first task."""
        self.wait(lambda: self.task(job_id).state == "running")

    def traced(self) -> list[str]:
        """What ran, as `stage point`, in order."""
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        return [line.rsplit(" ", 1)[0] for line in lines]

    def traced_pids(self) -> list[int]:
        """The processes that ran tasks, in order."""
        return [int(line.rsplit(" ", 1)[1]) for line in self.trace.read_text().splitlines()]

    def events(self, job_id: UUID, kind: str) -> list[dict[str, Any]]:
        """Payloads of a job's events of one kind."""
        with self.sessions() as session:
            return [
                event.payload for event in EventRepository(session, LOCAL_OWNER).after(job_id) if event.kind == kind
            ]

    def log(self, worker: int = 0) -> str:
        """What a worker has said so far."""
        return (self.settings.data_dir / f"worker{worker}.log").read_text()

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                os.kill(worker.pid, signal.SIGCONT)
                worker.kill()
            worker.wait()
        self.doorbell.close()
