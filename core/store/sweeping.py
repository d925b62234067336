"""What the sweeper finds: tasks whose worker fell silent, and queued tasks that no message will bring."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from core.errors import ChildDied
from core.store.job_state import OPEN_TASKS
from core.store.leases import Claim
from core.store.repositories.events import lock_job
from core.store.tables import Task
from core.store.transitions import retry_or_fail

SWEEP_LOCK = 0x42_69_74_53  # any fixed number: one sweeper at a time


def take_sweep_lock(session: Session) -> bool:
    """Whether this transaction may sweep; the lock goes with the transaction."""
    return bool(session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": SWEEP_LOCK}))


_EXPIRED = (Task.state == "running", Task.lease_until < func.clock_timestamp())


def expired(session: Session) -> list[Claim]:
    """Claims whose lease has run out by the database's clock."""
    columns = (Task.id, Task.fencing_token, Task.owner_id, Task.job_id, Task.stage, Task.point, Task.attempt)
    return [Claim(*row) for row in session.execute(select(*columns).where(*_EXPIRED))]


def requeue_expired(session: Session, lost: Claim, *, max_attempts: int) -> None:
    """Queues again what a silent worker held, or fails it after the last attempt; nothing if it spoke meanwhile."""
    if lost.job_id is not None:
        lock_job(session, lost.job_id)
    still = select(Task.id).where(Task.id == lost.task_id, Task.fencing_token == lost.token, *_EXPIRED)
    if session.scalar(still) is None:
        return
    error = ChildDied(
        f"the worker fell silent in attempt {lost.attempt} of {max_attempts}",
        hint="see the worker's log; a task that ends its worker again and again is not tried any more",
    )
    retry_or_fail(session, lost, error, max_attempts=max_attempts)


def undelivered(session: Session, *, messages: int, older_than_s: float) -> Sequence[UUID]:
    """The oldest queued tasks beyond as many as there are messages, last announced longer ago than `older_than_s`.

    They are marked as announced now. A task announced twice does no harm: one claim succeeds.
    """
    queued = session.scalar(select(func.count()).select_from(Task).where(Task.state == "queued")) or 0
    if queued <= messages:
        return []
    long_ago = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, older_than_s)
    oldest = (
        select(Task.id)
        .where(Task.state == "queued", func.coalesce(Task.enqueued_at, Task.created_at) < long_ago)
        .order_by(Task.created_at, Task.position)
        .limit(queued - messages)
    )
    marked = update(Task).where(Task.id.in_(oldest)).values(enqueued_at=func.now()).returning(Task.id)
    return session.scalars(marked).all()


def open_tasks(session: Session, task_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the tasks that have not ended."""
    query = select(Task.id).where(Task.id.in_(task_ids), Task.state.in_(OPEN_TASKS))
    return set(session.scalars(query))
