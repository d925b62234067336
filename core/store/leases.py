"""Claiming a task and holding it. All times are the database's; a worker's clock does not matter.

A claim is one compare-and-set statement, so of several that try, one succeeds. It hands out a fencing token; whoever
holds an older one can write nothing any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.store.tables import Job, Task


class Fenced(Conflict):
    """Another attempt has taken over this task."""

    code = "fenced"


@dataclass(frozen=True)
class Claim:
    """A task that this worker holds, for as long as its lease is renewed."""

    task_id: UUID
    token: int
    owner_id: UUID
    job_id: UUID | None
    stage: str
    point: int | None
    attempt: int


@dataclass(frozen=True)
class Renewal:
    """A claim that is still held, and whether its job is to be cancelled."""

    task_id: UUID
    token: int
    cancel_requested: bool


def _lease_end(lease_s: float) -> ColumnElement[Any]:
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, lease_s)


def claim(session: Session, task_id: UUID, *, worker: str, lease_s: float) -> Claim | None:
    """Takes a queued task; None where someone else has it, it has ended, or its job is being cancelled."""
    cancelled = select(Job.id).where(Job.id == Task.job_id, Job.cancel_requested).exists()
    statement = (
        update(Task)
        .where(Task.id == task_id, Task.state == "queued", ~cancelled)
        .values(
            state="running", worker=worker, attempt=Task.attempt + 1, fencing_token=Task.fencing_token + 1,
            lease_until=_lease_end(lease_s), started_at=func.coalesce(Task.started_at, func.now()), message="",
        )
        .returning(
            Task.id, Task.fencing_token, Task.owner_id, Task.job_id, Task.stage, Task.point, Task.attempt
        )
    )  # fmt: skip
    row = session.execute(statement).one_or_none()
    return None if row is None else Claim(*row)


_RENEW = text("""
    UPDATE tasks SET lease_until = clock_timestamp() + make_interval(secs => :lease_s)
      FROM unnest(CAST(:ids AS uuid[]), CAST(:tokens AS bigint[])) AS held(id, token)
     WHERE tasks.id = held.id AND tasks.fencing_token = held.token AND tasks.state = 'running'
    RETURNING tasks.id, tasks.fencing_token,
              coalesce((SELECT cancel_requested FROM jobs WHERE jobs.id = tasks.job_id), false)
""")


def renew(session: Session, claims: Sequence[Claim], *, lease_s: float) -> list[Renewal]:
    """Prolongs leases. Claims that are missing from the answer were lost to another attempt."""
    values = {"lease_s": lease_s, "ids": [held.task_id for held in claims], "tokens": [held.token for held in claims]}
    return [Renewal(*row) for row in session.execute(_RENEW, values)]


def held(claimed: Claim) -> tuple[ColumnElement[bool], ...]:
    """The condition that every write of a worker carries."""
    return Task.id == claimed.task_id, Task.fencing_token == claimed.token, Task.state == "running"


def check_held(session: Session, claimed: Claim) -> None:
    """Fenced where the task is no longer held."""
    if session.scalar(select(Task.id).where(*held(claimed))) is None:
        raise Fenced("another attempt has taken over this task", task=str(claimed.task_id))


def write_held(session: Session, claimed: Claim, **values: Any) -> None:
    """Writes to a task that is held; Fenced where it no longer is."""
    written = session.execute(update(Task).where(*held(claimed)).values(**values).returning(Task.id)).one_or_none()
    if written is None:
        raise Fenced("another attempt has taken over this task", task=str(claimed.task_id))
