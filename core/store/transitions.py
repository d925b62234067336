"""How tasks end, and what follows in the same transaction: dependants are queued, the job ends, events are told.

Each function takes the claim, whose token guards the write, and is called inside a unit of work. A commit that went
through although its answer was lost is recognised by the token, so a caller may simply try again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.errors import ChildDied
from core.store.database import announce_after_commit
from core.store.dependencies import TaskState, consequences
from core.store.inspection import reject_upload
from core.store.job_state import OPEN_TASKS, job_state
from core.store.leases import Claim, check_held, write_held
from core.store.repositories.events import lock_job, record
from core.store.repositories.results import StageResultRepository
from core.store.tables import Candidate, Job, Json, Task

Outcome = Callable[[Session, Claim, Json, Sequence[Json]], None]


def succeed(
    session: Session,
    held: Claim,
    result: Json,
    files: Sequence[Json],
    *,
    input_key: str | None,
    reused: bool = False,
    outcome: Outcome,
) -> None:
    """Ends a task with its output. `outcome` writes the rows that the output means."""
    cancel_requested = held.job_id is not None and lock_job(session, held.job_id)
    if _already(session, held, "succeeded"):
        return
    write_held(
        session, held, state="succeeded", result=result, files=list(files), input_key=input_key, reused=reused,
        progress=1.0, message="", lease_until=None, finished_at=func.now(),
    )  # fmt: skip
    if input_key is not None and not reused:
        StageResultRepository(session, held.owner_id).keep(input_key, result, files)
    outcome(session, held, result, files)
    _after(session, held, "succeeded", cancel_requested)


def fail(session: Session, held: Claim, problem: Json) -> None:
    """Ends a task with a problem."""
    cancel_requested = held.job_id is not None and lock_job(session, held.job_id)
    if _already(session, held, "failed"):
        return
    write_held(session, held, state="failed", problem=problem, lease_until=None, finished_at=func.now())
    reject_upload(session, held.task_id, problem)
    _after(session, held, "failed", cancel_requested, problem)


def cancelled(session: Session, held: Claim) -> None:
    """Ends a task because its job is being cancelled."""
    if held.job_id is not None:
        lock_job(session, held.job_id)
    if _already(session, held, "cancelled"):
        return
    write_held(session, held, state="cancelled", lease_until=None, finished_at=func.now(), message="cancelled")
    _after(session, held, "cancelled", cancel_requested=True)


def give_back(session: Session, held: Claim, *, counted: bool) -> None:
    """Queues the task again: `counted` is False where the worker stops in good order, True where its child died."""
    cancel_requested = held.job_id is not None and lock_job(session, held.job_id)
    if cancel_requested:
        cancelled(session, held)
        return
    attempt = held.attempt if counted else held.attempt - 1
    message = "its process ended; starting again" if counted else "handed back by a worker that stops"
    write_held(
        session, held, state="queued", attempt=attempt, lease_until=None, worker=None, message=message,
        enqueued_at=func.now(),
    )  # fmt: skip
    announce_after_commit(session, held.task_id)
    _tell_task(session, held, "queued", message=message)


def retry_or_fail(session: Session, held: Claim, error: ChildDied, *, max_attempts: int) -> None:
    """After a child died: queues the task again, or fails it after the last attempt."""
    if held.attempt < max_attempts:
        give_back(session, held, counted=True)
    else:
        fail(session, held, error.as_problem())


def tell_start(session: Session, held: Claim, message: str = "") -> None:
    """Tells that a task has been claimed. Not in the transaction of the claim, which holds no lock on the job."""
    tell_progress(session, held, 0.0, message)


def tell_progress(session: Session, held: Claim, fraction: float, message: str) -> None:
    """Writes how far a task is, and tells it."""
    if held.job_id is not None:
        lock_job(session, held.job_id)
    write_held(session, held, progress=fraction, message=message)
    _tell_task(session, held, "running", progress=fraction, message=message)


def tell(session: Session, held: Claim, kind: str, payloads: Sequence[Json]) -> None:
    """Adds metrics or log lines of a running task to its job's events."""
    if held.job_id is None:
        return
    lock_job(session, held.job_id)
    check_held(session, held)
    named = [{"task_id": str(held.task_id), "stage": held.stage, "point": held.point, **each} for each in payloads]
    record(session, held.owner_id, held.job_id, kind, *named)


def has_ended(session: Session, task_id: UUID) -> bool:
    """Whether no attempt of the task will follow."""
    return session.scalar(select(Task.state).where(Task.id == task_id)) not in OPEN_TASKS


def job_has_ended(session: Session, job_id: UUID) -> bool:
    """Whether no task of the job is open, or the job is gone."""
    return session.scalar(select(Job.id).where(Job.id == job_id, Job.finished_at.is_(None))) is None


def _already(session: Session, held: Claim, state: str) -> bool:
    query = select(Task.id).where(Task.id == held.task_id, Task.fencing_token == held.token, Task.state == state)
    return session.scalar(query) is not None


def _after(session: Session, held: Claim, state: str, cancel_requested: bool, problem: Json | None = None) -> None:
    if held.job_id is None:
        return
    if held.point is not None and state != "succeeded":
        _end_candidate(session, held.job_id, held.point, state, problem)
    _tell_task(session, held, state, problem=problem)
    advance(session, held.owner_id, held.job_id, cancel_requested)


def _tell_task(session: Session, held: Claim, state: str, **more: Any) -> None:
    if held.job_id is not None:
        payload = {"task_id": str(held.task_id), "stage": held.stage, "point": held.point, "state": state, **more}
        record(session, held.owner_id, held.job_id, "task", payload)


def advance(session: Session, owner_id: UUID, job_id: UUID, cancel_requested: bool) -> None:
    """Queues, fails or cancels what waited, and ends the job with its last task. The job's lock is held."""
    columns = (Task.id, Task.stage, Task.point, Task.state, Task.depends_on, Task.tolerant, Task.problem)
    rows = session.execute(select(*columns).where(Task.job_id == job_id).order_by(Task.position))
    tasks = {row.id: TaskState(*row) for row in rows}
    changes = consequences(tasks.values(), cancel_requested=cancel_requested)
    for change in changes:
        task = tasks[change.id]
        if change.state == "queued":
            _write(session, change.id, state="queued", enqueued_at=func.now())
            announce_after_commit(session, change.id)
            continue
        _write(session, change.id, state=change.state, problem=change.problem, finished_at=func.now())
        if task.point is not None and change.state == "cancelled":
            _end_candidate(session, job_id, task.point, "cancelled", None)
    _end_job(session, owner_id, job_id)


def _write(session: Session, task_id: UUID, **values: Any) -> None:
    session.execute(update(Task).where(Task.id == task_id, Task.state == "waiting").values(**values))


def _end_job(session: Session, owner_id: UUID, job_id: UUID) -> None:
    still_open = select(Task.id).where(Task.job_id == job_id, Task.state.in_(OPEN_TASKS)).exists()
    ended = update(Job).where(Job.id == job_id, Job.finished_at.is_(None), ~still_open).values(finished_at=func.now())
    session.execute(ended)
    record(session, owner_id, job_id, "state", {"state": session.scalar(select(job_state()).where(Job.id == job_id))})


def _end_candidate(session: Session, job_id: UUID, point: int, state: str, problem: Json | None) -> None:
    """A candidate whose point failed; one that was already measured keeps its figures."""
    session.execute(
        update(Candidate)
        .where(Candidate.job_id == job_id, Candidate.point == point, Candidate.state.not_in(("failed", "cancelled")))
        .values(state=state, problem=problem)
    )
