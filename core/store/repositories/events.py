"""What happened in a job, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from core.store.repositories.repository import Repository
from core.store.tables import Event, Job


def lock_job(session: Session, job_id: UUID) -> bool:
    """Holds the job until the end of the transaction; returns its cancel flag.

    Everything that changes a job's tasks or adds events holds this lock, so that two tasks ending together both see
    the other, and events become visible in the order of their ids.
    """
    query = select(Job.cancel_requested).where(Job.id == job_id).with_for_update(key_share=True)
    return bool(session.scalar(query))


def record(session: Session, owner_id: UUID, job_id: UUID, kind: str, *payloads: dict[str, Any]) -> None:
    """Adds events of one kind: state, task, metric, candidate or log."""
    lock_job(session, job_id)
    rows = [{"owner_id": owner_id, "job_id": job_id, "kind": kind, "payload": payload} for payload in payloads]
    if rows:
        session.execute(insert(Event), rows)


class EventRepository(Repository):
    """The owner's events."""

    def after(self, job_id: UUID, event_id: int = 0, limit: int = 500) -> Sequence[Event]:
        """Events of a job that came after one that was already seen."""
        query = select(Event).where(Event.owner_id == self.owner_id, Event.job_id == job_id, Event.id > event_id)
        return self.session.scalars(query.order_by(Event.id).limit(limit)).all()

    def last_id(self, job_id: UUID) -> int:
        """Id of the newest event of a job; 0 where there is none."""
        query = select(Event.id).where(Event.owner_id == self.owner_id, Event.job_id == job_id)
        return self.session.scalar(query.order_by(Event.id.desc()).limit(1)) or 0
