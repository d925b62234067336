"""Requests that were sent with an Idempotency-Key: a repetition finds the job that the first one made."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select

from core.store.repositories.repository import Repository
from core.store.tables import Job


class RequestRepository(Repository):
    """The owner's keys."""

    def job_made_with(self, key: str) -> Job | None:
        """The job, if the key was used before. Requests with one key then wait for each other until the commit."""
        lock = func.pg_advisory_xact_lock(func.hashtextextended(f"{self.owner_id} {key}", 0))
        self.session.execute(select(lock))
        return self.session.scalars(self._owned(Job).where(Job.idempotency_key == key)).one_or_none()

    def remember(self, job_id: UUID, key: str) -> None:
        """Binds the key to the job it made."""
        self.session.get_one(Job, job_id).idempotency_key = key
        self.session.flush()
