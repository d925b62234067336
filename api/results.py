"""What a job found, as JSON: candidates, files, and the report that the figures are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from api.measurements import MeasurementAnswer
from api.schemas import ArtifactAnswer, CandidateAnswer, Json, ReportAnswer
from core.figures.job_report import STAGES, job_report
from core.store.repositories.jobs import JobRepository
from core.store.repositories.measurements import MeasurementRepository
from core.store.repositories.results import ArtifactRepository, CandidateRepository
from core.store.tables import Candidate, Measurement

_NOT_IN_ROWS = ("dominated", "post_training", "training", "speed", "measurements")


def candidates_of(session: Session, owner: UUID, job_id: UUID) -> list[CandidateAnswer]:
    """All candidates of a job by slot."""
    evaluations, trainings, exports = (
        _by_point(session, owner, job_id, stage) for stage in ("evaluate", "finetune", "export")
    )
    measurements = MeasurementRepository(session, owner).of_job(job_id)
    rows = CandidateRepository(session, owner).of_job(job_id)
    return [
        candidate_answer(
            row,
            post_training=evaluations.get(row.point, {}).get("post_training"),
            training=trainings.get(row.point, {}).get("training"),
            speed=exports.get(row.point, {}).get("speed"),
            measurements=measurements.get(row.id, ()),
        )
        for row in rows
    ]


def _by_point(session: Session, owner: UUID, job_id: UUID, stage: str) -> dict[int | None, Json]:
    return {task.point: task.result or {} for task in JobRepository(session, owner).results(job_id, stage)}


def candidate_answer(
    row: Candidate,
    *,
    post_training: Json | None,
    training: Json | None,
    speed: Json | None,
    measurements: Sequence[Measurement],
) -> CandidateAnswer:
    """A row as JSON. Dominated is what was measured and does not stand on the front."""
    names = [name for name in CandidateAnswer.model_fields if name not in _NOT_IN_ROWS]
    dominated = None if row.on_front is None or row.measured is None else not row.on_front
    record = {name: value for name, value in (training or {}).items() if name != "history"}  # a row has its own
    return CandidateAnswer(
        **{name: getattr(row, name) for name in names},
        dominated=dominated,
        post_training=post_training,
        training=record or None,
        speed=speed,
        measurements=[MeasurementAnswer.model_validate(measurement) for measurement in measurements],
    )


def artifacts_of(session: Session, owner: UUID, job_id: UUID) -> list[ArtifactAnswer]:
    """All files of a job, oldest first."""
    return [ArtifactAnswer.model_validate(row) for row in ArtifactRepository(session, owner).of_job(job_id)]


def report_of(session: Session, owner: UUID, job_id: UUID) -> ReportAnswer:
    """The results of a job's stages so far; NotFound for another owner's job."""
    repository = JobRepository(session, owner)
    specification = repository.get(job_id).job.specification
    tasks = {stage: repository.task(job_id, stage) for stage in STAGES}
    results = {stage: task.result or {} for stage, task in tasks.items() if task is not None}
    return ReportAnswer(**job_report(results, specification))
