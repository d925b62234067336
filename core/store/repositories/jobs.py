"""Jobs and their tasks, as their owner sees them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, defer

from core.errors import Conflict, NotFound
from core.jobs.plan import PlannedTask
from core.jobs.specification import JobSpecification
from core.store.database import announce_after_commit
from core.store.job_state import ENDED, job_state
from core.store.repositories.events import record
from core.store.repositories.repository import Page, Repository
from core.store.tables import Job, Task, new_id


@dataclass(frozen=True)
class JobWithState:
    """A job and what its tasks amount to."""

    job: Job
    state: str


def create_job(
    session: Session, owner_id: UUID, specification: JobSpecification, planned: Sequence[PlannedTask]
) -> Job:
    """A job with all its tasks; those that need nothing are queued. The caller has checked model and data set."""
    job = Job(
        id=new_id(), owner_id=owner_id, name=specification.name, model_id=specification.model_id,
        dataset_id=specification.dataset_id, specification=specification.model_dump(mode="json"),
    )  # fmt: skip
    session.add(job)
    session.flush()
    ids = [new_id() for _ in planned]
    session.add_all(_task(job, position, ids, task) for position, task in enumerate(planned))
    session.flush()
    for task_id, task in zip(ids, planned, strict=True):
        if not task.depends_on:
            announce_after_commit(session, task_id)
    record(session, owner_id, job.id, "state", {"state": "queued"})
    return job


def _task(job: Job, position: int, ids: Sequence[UUID], planned: PlannedTask) -> Task:
    return Task(
        id=ids[position], owner_id=job.owner_id, job_id=job.id, position=position, stage=planned.stage,
        point=planned.point, tolerant=planned.tolerant, depends_on=[ids[index] for index in planned.depends_on],
        state="waiting" if planned.depends_on else "queued",
        enqueued_at=None if planned.depends_on else func.now(),
    )  # fmt: skip


class JobRepository(Repository):
    """The owner's jobs."""

    def get(self, job_id: UUID) -> JobWithState:
        """One job; NotFound for another owner's."""
        query = select(Job, job_state()).where(Job.owner_id == self.owner_id, Job.id == job_id)
        row = self.session.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"there is no job {job_id}")
        return JobWithState(*row)

    def page(self, after: UUID | None = None, limit: int = 50) -> Page[Job]:
        """Newest first, without states; ask `states` for those."""
        return self._page(self._owned(Job), Job, after, limit)

    def states(self, job_ids: Collection[UUID]) -> dict[UUID, str]:
        """The state of each of the owner's jobs among the ids."""
        query = select(Job.id, job_state()).where(Job.owner_id == self.owner_id, Job.id.in_(job_ids))
        return dict(self.session.execute(query).all())

    def tasks(self, *job_ids: UUID) -> Sequence[Task]:
        """Tasks in order, without their results and files."""
        query = self._owned(Task).where(Task.job_id.in_(job_ids)).order_by(Task.job_id, Task.position)
        return self.session.scalars(query.options(defer(Task.result), defer(Task.files))).all()

    def task(self, job_id: UUID, stage: str, point: int | None = None) -> Task | None:
        """One task with its result, by stage and point."""
        query = self._owned(Task).where(Task.job_id == job_id, Task.stage == stage)
        query = query.where(Task.point.is_(None) if point is None else Task.point == point)
        return self.session.scalars(query).one_or_none()

    def results(self, job_id: UUID, stage: str) -> Sequence[Task]:
        """All tasks of a stage with their results."""
        query = self._owned(Task).where(Task.job_id == job_id, Task.stage == stage)
        return self.session.scalars(query.order_by(Task.position)).all()

    def queue_position(self, job_id: UUID) -> int:
        """How many unfinished jobs, of anyone, were accepted before this one. 0: it is next, or already runs."""
        query = select(func.count()).select_from(Job).where(Job.finished_at.is_(None), Job.id < job_id)
        return self.session.scalar(query) or 0

    def request_cancel(self, job_id: UUID) -> JobWithState:
        """Ends what has not begun and flags the job, so that workers end the rest. Conflict once it has ended."""
        query = select(Job).where(Job.owner_id == self.owner_id, Job.id == job_id).with_for_update(key_share=True)
        job = self.session.scalars(query).one_or_none()
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        before = self.get(job_id)
        if before.state in ENDED:
            raise Conflict(f"the job has already {_ended_as(before.state)}", state=before.state)
        if not job.cancel_requested:
            self._cancel(job)
        return self.get(job_id)

    def _cancel(self, job: Job) -> None:
        job.cancel_requested = True
        self.session.execute(
            update(Task)
            .where(Task.job_id == job.id, Task.state.in_(("waiting", "queued")))
            .values(state="cancelled", finished_at=func.now(), message="cancelled before it began")
        )
        self.session.flush()
        state = self.get(job.id).state
        if state in ENDED:
            job.finished_at = func.now()
        record(self.session, self.owner_id, job.id, "state", {"state": state})

    def delete(self, job_id: UUID) -> None:
        """Deletes a job that has ended, with everything it made. Conflict while it runs."""
        found = self.get(job_id)
        if found.state not in ENDED:
            raise Conflict("the job has not ended", hint="cancel it first", state=found.state)
        self.session.delete(found.job)


def _ended_as(state: str) -> str:
    return {"cancelled": "been cancelled"}.get(state, state)
