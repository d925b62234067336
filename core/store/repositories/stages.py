"""Jobs as people follow them: their tasks summed up by stage, in one query for any number of jobs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import InstrumentedAttribute

from core.store.repositories.repository import Repository
from core.store.tables import Dataset, Job, Model, Task

_NOW = func.clock_timestamp()
_PRIOR_TASKS = 200


@dataclass(frozen=True)
class StageSum:
    """The tasks of one stage of one job. Durations in seconds; `running_elapsed_s` and `running_progress` are sums."""

    job_id: UUID
    stage: str
    pointwise: bool
    total: int
    waiting: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    reused: int
    running_progress: float
    running_elapsed_s: float
    mean_s: float | None
    wall_s: float | None
    message: str | None
    problem: dict[str, Any] | None


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


def _seconds(interval: ColumnElement[Any]) -> ColumnElement[float]:
    return func.extract("epoch", interval).cast(Task.progress.type)


def _newest(column: InstrumentedAttribute[str], condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.array_agg(aggregate_order_by(column, Task.started_at.desc())).filter(condition)[1]


_COLUMNS = (
    func.bool_or(Task.point.is_not(None)),
    func.count(),
    *(_count(Task.state == state) for state in ("waiting", "queued", "running", "succeeded", "failed", "cancelled")),
    _count(Task.reused.is_(True)),
    func.coalesce(func.sum(Task.progress).filter(Task.state == "running"), 0.0),
    func.coalesce(func.sum(_seconds(_NOW - Task.started_at)).filter(Task.state == "running"), 0.0),
    func.avg(_seconds(Task.finished_at - Task.started_at)).filter((Task.state == "succeeded") & ~Task.reused),
    _seconds(func.max(func.coalesce(Task.finished_at, _NOW)) - func.min(Task.started_at)),
    _newest(Task.message, Task.state == "running"),
    func.array_agg(aggregate_order_by(Task.problem, Task.position)).filter(Task.problem.is_not(None))[1],
)


class StageRepository(Repository):
    """Sums over the owner's tasks."""

    def sums(self, job_ids: Collection[UUID]) -> dict[UUID, list[StageSum]]:
        """Stages of each job in the order of its plan."""
        query = (
            select(Task.job_id, Task.stage, *_COLUMNS)
            .where(Task.owner_id == self.owner_id, Task.job_id.in_(job_ids))
            .group_by(Task.job_id, Task.stage)
            .order_by(Task.job_id, func.min(Task.position))
        )
        found: dict[UUID, list[StageSum]] = {}
        for row in self.session.execute(query):
            found.setdefault(row[0], []).append(StageSum(*row))
        return found

    def earlier_means(self, job: Job) -> dict[str, float]:
        """Mean seconds of a task by stage in recent jobs on the same model and data set."""
        recent = (
            select(Task.stage, _seconds(Task.finished_at - Task.started_at).label("seconds"))
            .join(Job, Job.id == Task.job_id)
            .where(
                Task.owner_id == self.owner_id,
                Job.model_id == job.model_id,
                Job.dataset_id.is_not_distinct_from(job.dataset_id),
                Job.id != job.id,
                Task.state == "succeeded",
                Task.finished_at > Task.started_at,
                ~Task.reused,
            )
            .order_by(Task.id.desc())
            .limit(_PRIOR_TASKS)
            .subquery()
        )
        query = select(recent.c.stage, func.avg(recent.c.seconds)).group_by(recent.c.stage)
        return dict(self.session.execute(query).all())

    def names(self, jobs: Collection[Job]) -> dict[UUID, str]:
        """Names of the models and data sets that the jobs use, by id."""
        found: dict[UUID, str] = {}
        datasets = {job.dataset_id for job in jobs} - {None}
        for table, ids in ((Model, {job.model_id for job in jobs}), (Dataset, datasets)):
            query = select(table.id, table.name).where(table.owner_id == self.owner_id, table.id.in_(ids))
            found |= dict(self.session.execute(query).all())
        return found
