"""A job as JSON: what its tasks amount to, summed up by stage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

from sqlalchemy.orm import Session

from api.estimates import job_progress, remaining_s, stage_progress
from api.schemas import JobAnswer, JobState, Json, Named, StageAnswer, StageState
from core.errors import DependencyFailed
from core.store.job_state import ENDED
from core.store.repositories.jobs import JobRepository
from core.store.repositories.stages import StageRepository, StageSum
from core.store.tables import Job


class JobViews:
    """Builds the JSON of an owner's jobs. `workers` is how many tasks run at once, for estimates."""

    def __init__(self, session: Session, owner: UUID, workers: int) -> None:
        self._jobs = JobRepository(session, owner)
        self._stages = StageRepository(session, owner)
        self._workers = workers

    def one(self, job_id: UUID) -> JobAnswer:
        """One job; NotFound for another owner's."""
        return self.many([self._jobs.get(job_id).job])[0]

    def many(self, jobs: Sequence[Job]) -> list[JobAnswer]:
        """Several jobs, with four queries for all of them together."""
        ids = [job.id for job in jobs]
        states, sums, names = self._jobs.states(ids), self._stages.sums(ids), self._stages.names(jobs)
        return [self._answer(job, states[job.id], sums.get(job.id, []), names) for job in jobs]

    def _answer(self, job: Job, state: str, stages: list[StageSum], names: dict[UUID, str]) -> JobAnswer:
        ended = state in ENDED
        now = job.finished_at if ended and job.finished_at else datetime.now(UTC)
        return JobAnswer(
            id=job.id,
            name=job.name,
            state=cast(JobState, state),
            stage=None if ended else next((stage.stage for stage in stages if stage.running), None),
            progress=1.0 if ended else job_progress(stages),
            eta_s=None if ended or state == "cancelling" else self._eta_s(job, stages),
            queue_position=self._jobs.queue_position(job.id) if state == "queued" else None,
            problem=job_problem(stages) if state == "failed" else None,
            created_at=job.created_at,
            finished_at=job.finished_at,
            elapsed_s=max(0.0, (now - job.created_at).total_seconds()),
            model=Named(id=job.model_id, name=names.get(job.model_id, "")),
            dataset=None if job.dataset_id is None else Named(id=job.dataset_id, name=names.get(job.dataset_id, "")),
            specification=job.specification,
            stages=[stage_answer(stage) for stage in stages],
        )

    def _eta_s(self, job: Job, stages: list[StageSum]) -> float | None:
        known = remaining_s(stages, {}, self._workers)
        return known if known is not None else remaining_s(stages, self._stages.earlier_means(job), self._workers)


def stage_answer(stage: StageSum) -> StageAnswer:
    """One stage of the timeline."""
    return StageAnswer(
        stage=stage.stage,
        state=cast(StageState, stage_state(stage)),
        done=stage.succeeded,
        total=stage.total,
        failed=stage.failed,
        reused=stage.reused,
        progress=stage_progress(stage),
        seconds=stage.wall_s,
        message=stage.message or "",
        problem=stage.problem,
    )


def stage_state(stage: StageSum) -> str:
    """A stage fails with its only task; of many points some may fail, as long as not all do."""
    if stage.running:
        return "running"
    if stage.waiting or stage.queued:
        begun = stage.waiting + stage.queued < stage.total
        return "running" if begun else "queued" if stage.queued else "waiting"
    if stage.failed and (not stage.pointwise or not stage.succeeded):
        return "failed"
    return "cancelled" if stage.cancelled else "succeeded"


def job_problem(stages: Sequence[StageSum]) -> Json | None:
    """Why a job failed: the first cause, not the tasks that fell with it."""
    problems = [stage.problem for stage in stages if stage.problem is not None and not stage.pointwise]
    causes = [problem for problem in problems if problem.get("code") != DependencyFailed.code]
    return next(iter(causes or problems), None)
