"""One claimed task from its inputs to its end. Runs on a thread of the worker; the work itself is done by a child."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from core.errors import BitfrontError, ChildDied, NotFound, TaskFailed
from core.jobs.task import TaskOutput
from core.settings import Settings
from core.store import transitions
from core.store.artifacts import ArtifactStore
from core.store.leases import Claim, Fenced
from core.store.repositories.results import StageResultRepository
from core.store.tables import Json
from worker import protocol
from worker.inputs import KeyFunction, TaskRows, carry_checkpoints, materialise, read_rows, store_outputs
from worker.outcomes import write_outcome
from worker.pool import ChildPool
from worker.process import Child
from worker.reports import Reports
from worker.transactions import Transactions

log = logging.getLogger("bitfront.task")

Reason = Literal["cancelled", "lost", "stopping"]


class Interrupted(Exception):
    """The task is to end, because its job is cancelled, its claim is lost, or the worker stops."""


@dataclass(frozen=True)
class Tools:
    """What every run uses."""

    settings: Settings
    transactions: Transactions
    artifacts: ArtifactStore
    children: ChildPool
    input_key: KeyFunction


class Run:
    """A task while this worker holds it. `interrupt` may be called from any thread."""

    def __init__(self, tools: Tools, claim: Claim) -> None:
        self.claim = claim
        self.reason: Reason | None = None
        self._tools = tools
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._reports = Reports(tools.transactions, claim)
        self._checkpoints = tools.settings.data_dir.resolve() / "checkpoints" / str(claim.task_id)

    def interrupt(self, reason: Reason) -> None:
        """Ends the task soon. The first reason counts, except that a lost claim outweighs all."""
        with self._lock:
            if self.reason == reason or (self.reason is not None and reason != "lost"):
                return
            self.reason = reason
            child = self._child
        if child is not None:
            self._end(child)

    def _end(self, child: Child) -> None:
        """Ends the child from a thread of its own: the heart must go on beating."""
        grace_s = self._tools.settings.cancel_grace_s

        def stop_at_checkpoint() -> None:
            child.send(protocol.StopTask())
            deadline = time.monotonic() + grace_s
            while child.alive and time.monotonic() < deadline and self._child is child:
                time.sleep(0.02)
            child.end(0)

        def terminate() -> None:
            child.end(0 if self.reason == "lost" else grace_s)

        target = stop_at_checkpoint if self.reason == "stopping" else terminate
        threading.Thread(target=target, name="end-child", daemon=True).start()

    def _check(self) -> None:
        if self.reason is not None:
            raise Interrupted

    def execute(self) -> None:
        """Runs the task and ends it in the database, whatever happens to it."""
        try:
            self._end_with(self._attempt())
        except Fenced:
            log.warning("task %s was taken over by another attempt", self.claim.task_id)

    def _end_with(self, end: Callable[[], None]) -> None:
        if self.reason != "lost":
            end()
            self._forget_checkpoints_if_ended()

    def _attempt(self) -> Callable[[], None]:
        """Tries the task; returns how it is to end."""
        try:
            return self._try()
        except Fenced:
            raise
        except Interrupted:
            return self._interrupted
        except ChildDied as error:
            return self._interrupted if self.reason else self._died(error)
        except BitfrontError as error:
            return self._interrupted if self.reason else self._failed(error.as_problem())

    def _try(self) -> Callable[[], None]:
        transactions = self._tools.transactions
        transactions.insist(lambda session: transitions.tell_start(session, self.claim))
        rows = transactions.insist(lambda session: read_rows(session, self.claim))
        key = self._tools.input_key(rows.identity())
        kept = self._kept_output(key)
        if kept is not None:
            return self._succeeded(*kept, key=key, reused=True)
        self._check()
        result, files = self._compute(rows)
        return self._succeeded(result, files, key=key, reused=False)

    def _kept_output(self, key: str | None) -> tuple[Json, list[Json]] | None:
        """An output that the same inputs gave this owner before, if its files are still there."""
        if key is None:
            return None
        kept = self._tools.transactions.insist(
            lambda session: StageResultRepository(session, self.claim.owner_id).find(key)
        )
        if kept is None:
            return None
        try:
            for file in kept.files:
                self._tools.artifacts.size_bytes(file["sha256"])
        except NotFound:
            self._tools.transactions.insist(
                lambda session: StageResultRepository(session, self.claim.owner_id).forget(key)
            )
            return None
        return kept.result, kept.files

    def _compute(self, rows: TaskRows) -> tuple[Json, list[Json]]:
        belongs_to = self.claim.job_id or self.claim.task_id
        child = self._take_child()
        directory = child.directory / f"{self.claim.task_id}-{self.claim.token}"
        reusable = False
        try:
            self._await_ready(child)
            task = materialise(
                rows,
                self._tools.artifacts,
                child_directory=child.directory,
                checkpoint_directory=carry_checkpoints(self._checkpoints, self.claim.token),
                device=self._device(child),
                threads=self._tools.settings.threads_per_task,
            )
            self._check()
            output = self._converse(child, protocol.RunTask(task=task))
            files = store_outputs(self._tools.artifacts, task.directory, output.files)
            reusable = self.claim.job_id is not None and self.reason is None
            return output.result, files
        finally:
            self._let_go(child)
            self._reports.close(child.take_lines())
            if reusable:
                shutil.rmtree(directory, ignore_errors=True)
                self._tools.children.put_back(belongs_to, child)
            else:
                child.retire()

    def _take_child(self) -> Child:
        try:
            child = self._tools.children.take(self.claim.job_id or self.claim.task_id)
        except OSError as error:
            raise ChildDied(f"no process could be started: {error.strerror}") from error
        with self._lock:
            self._child = child
        return child

    def _let_go(self, child: Child) -> None:
        with self._lock:
            self._child = None
        if self.reason is not None:
            child.end(0 if self.reason == "lost" else self._tools.settings.cancel_grace_s)

    def _device(self, child: Child) -> str:
        chosen = self._tools.settings.device
        if chosen != "auto":
            return chosen
        return f"cuda:{self.claim.task_id.int % child.accelerators}" if child.accelerators else "cpu"

    def _await_ready(self, child: Child) -> None:
        """Returns once the child has imported the engine, which a spare has long done."""
        if child.ready:
            return
        for record in self._listen(child):
            if record is None:
                self._check()
                continue
            if not isinstance(record, protocol.Ready):
                raise _broken("it spoke before it was ready")
            child.ready, child.accelerators = True, record.accelerators
            return

    def _converse(self, child: Child, request: protocol.RunTask) -> TaskOutput:
        """Sends the task and listens until the child answers. One that shall stop is listened to until it does."""
        child.send(request)
        for record in self._listen(child):
            if self.reason in ("cancelled", "lost"):
                raise Interrupted
            answer = self._take(child, record)
            if answer is not None:
                return answer
        raise Interrupted

    def _listen(self, child: Child) -> Iterator[BaseModel | None]:
        """Records of the child. Its death is an error, unless it was wanted."""
        try:
            yield from child.records()
        except protocol.ProtocolViolation as error:
            raise _broken(str(error)) from error
        self._check()
        raise _death(child.end(0))

    def _take(self, child: Child, record: BaseModel | None) -> TaskOutput | None:
        if record is not None and getattr(record, "task_id", None) != str(self.claim.task_id):
            raise _broken("a record names another task")
        match record:
            case protocol.Result(output=output):
                return output
            case protocol.Problem(problem=body):
                raise _ReportedProblem(body)
            case protocol.Stopped():
                raise Interrupted
        try:
            self._reports.take(record, child)
        except Fenced:
            self.interrupt("lost")
        return None

    def _succeeded(self, result: Json, files: list[Json], *, key: str | None, reused: bool) -> Callable[[], None]:
        def write(session: Session) -> None:
            transitions.succeed(session, self.claim, result, files, input_key=key, reused=reused, outcome=write_outcome)

        def end() -> None:
            try:
                self._tools.transactions.insist(write)
            except Fenced:
                raise
            except BitfrontError as error:
                self._failed(error.as_problem())()
            except (KeyError, TypeError, ValueError, DataError, IntegrityError) as error:
                log.exception("the output of task %s cannot be stored", self.claim.task_id)
                what = f"the output does not fit what the stage promises: {type(error).__name__}"
                self._failed(TaskFailed(what, hint="see the worker's log").as_problem())()

        return end

    def _failed(self, problem: Json) -> Callable[[], None]:
        return lambda: self._tools.transactions.insist(lambda session: transitions.fail(session, self.claim, problem))

    def _died(self, error: ChildDied) -> Callable[[], None]:
        attempts = self._tools.settings.max_attempts
        return lambda: self._tools.transactions.insist(
            lambda session: transitions.retry_or_fail(session, self.claim, error, max_attempts=attempts)
        )

    def _interrupted(self) -> None:
        if self.reason == "cancelled":
            self._tools.transactions.insist(lambda session: transitions.cancelled(session, self.claim))
        elif self.reason != "lost":
            self._tools.transactions.insist(lambda session: transitions.give_back(session, self.claim, counted=False))

    def _forget_checkpoints_if_ended(self) -> None:
        ended = self._tools.transactions.insist(lambda session: transitions.has_ended(session, self.claim.task_id))
        if ended:
            shutil.rmtree(self._checkpoints, ignore_errors=True)


class _ReportedProblem(BitfrontError):
    """A problem that the child has put into words already."""

    def __init__(self, body: protocol.Problem.Body) -> None:
        super().__init__(body.detail)
        self._body = body

    def as_problem(self) -> Json:
        return self._body.model_dump(exclude=None if self._body.facts else {"facts"})


def _broken(what: str) -> TaskFailed:
    return TaskFailed(f"the process that ran the task broke the protocol: {what}", hint="see the log of the job")


def _death(status: int) -> ChildDied:
    """What a process's exit status says about its end."""
    if status == -signal.SIGKILL:
        return ChildDied(
            "the process was killed", hint="often the system does so when memory runs out: use a smaller batch size"
        )
    if status < 0:
        return ChildDied(f"the process crashed with {signal.Signals(-status).name}", hint="see the log of the job")
    return ChildDied(f"the process ended with status {status}", hint="see the log of the job")
