"""One worker: its threads, its children, and what it does with a delivery."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID, uuid4

from core.errors import ConfigurationError
from core.jobs.keys import input_key
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import make_engine, make_sessions
from core.store.leases import Claim, claim
from core.store.transitions import job_has_ended
from core.store.workers import WORKER_APPLICATION
from worker.delivery import Acknowledge
from worker.doorbell import Doorbell
from worker.heartbeat import Heartbeat
from worker.inputs import KeyFunction
from worker.pool import ChildPool
from worker.process import RUNNER, Child
from worker.run import Run, Tools
from worker.sweeper import Sweeper
from worker.transactions import Transactions

log = logging.getLogger("bitfront.worker")


class Worker:
    """Claims tasks and runs them. `runner` and `input_key` are those of the engine; only tests give others."""

    def __init__(
        self,
        settings: Settings,
        *,
        runner: str = RUNNER,
        key: KeyFunction = input_key,
        extra_path: Sequence[Path] = (),
    ) -> None:
        if settings.database_url is None or settings.redis_url is None:
            raise ConfigurationError(
                "a worker needs a database and a queue",
                hint="set BITFRONT_DATABASE_URL and BITFRONT_REDIS_URL, or use `bitfront up`",
            )
        self.settings = settings
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.doorbell = Doorbell(settings.redis_url)
        self._engine = make_engine(
            settings.database_url, pool_size=settings.workers + 4, application_name=WORKER_APPLICATION
        )
        self._transactions = Transactions(make_sessions(self._engine), self.doorbell.ring)
        self._work = _WorkDirectory(settings.data_dir.resolve() / "work", self.name)
        self._children = ChildPool(self._child_starter(runner, extra_path), settings.workers)
        self._tools = Tools(settings, self._transactions, ArtifactStore.open(settings), self._children, key)
        self._heartbeat = Heartbeat(self._transactions, every_s=settings.heartbeat_s, lease_s=settings.lease_s)
        self._sweeper = Sweeper(settings, self._transactions, self.doorbell, self._children)
        self._stopping = False

    def _child_starter(self, runner: str, extra_path: Sequence[Path]) -> Callable[[], Child]:
        directory, threads = self._work.path, self.settings.threads_per_task
        return lambda: Child(directory, threads=threads, runner=runner, extra_path=extra_path)

    def start(self) -> None:
        """Starts the threads."""
        self._heartbeat.start()
        self._sweeper.start()
        log.info("worker %s runs %d tasks at a time", self.name, self.settings.workers)

    def handle(self, task_id: UUID, acknowledge: Acknowledge) -> None:
        """One delivery: claims the task, acknowledges the message, runs the task to its end."""
        if self._stopping:
            return
        claimed = self._transactions.insist(
            lambda session: claim(session, task_id, worker=self.name, lease_s=self.settings.lease_s)
        )
        acknowledge()
        if claimed is not None:
            self._run(claimed)

    def _run(self, claimed: Claim) -> None:
        log.info("task %s: %s, attempt %d", claimed.task_id, _described(claimed), claimed.attempt)
        run = Run(self._tools, claimed)
        self._heartbeat.hold(run)
        if self._stopping:
            run.interrupt("stopping")
        try:
            run.execute()
        finally:
            self._heartbeat.release(run)
        job_id = claimed.job_id
        if job_id is not None and self._transactions.insist(lambda session: job_has_ended(session, job_id)):
            self._children.retire_job(job_id)

    def stop(self) -> None:
        """Asks every run to stop at its next checkpoint and hand its task back. Returns at once."""
        self._stopping = True
        self._transactions.stop_insisting()
        for run in self._heartbeat.runs():
            run.interrupt("stopping")

    def close(self) -> None:
        """Ends threads and children; call it once no delivery is being handled."""
        self.stop()
        self._sweeper.stop()
        self._heartbeat.stop()
        self._children.close()
        self._engine.dispose()
        self.doorbell.close()
        self._work.remove()


def _described(claimed: Claim) -> str:
    return claimed.stage if claimed.point is None else f"{claimed.stage} {claimed.point}"


class _WorkDirectory:
    """A worker's scratch files. A locked file beside them shows that it lives; what dead workers left is deleted."""

    def __init__(self, root: Path, name: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        for lock in root.glob("*.lock"):
            _remove_if_dead(lock)
        self.path = root / name
        self._lock_path = root / f"{name}.lock"
        self._lock = self._lock_path.open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path.mkdir()

    def remove(self) -> None:
        """Deletes the directory."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock_path.unlink(missing_ok=True)
        self._lock.close()


def _remove_if_dead(lock_path: Path) -> None:
    try:
        with lock_path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock_path.with_suffix(""), ignore_errors=True)
            lock_path.unlink()
    except OSError:
        return  # its worker lives, or another removes it already
