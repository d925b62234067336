"""What jobs found: candidates, files to download, and outputs to use again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from core.store.repositories.repository import Repository
from core.store.tables import Artifact, Candidate, StageResult


class CandidateRepository(Repository):
    """The owner's candidates."""

    def of_job(self, job_id: UUID) -> Sequence[Candidate]:
        """All candidates of a job by slot."""
        query = self._owned(Candidate).where(Candidate.job_id == job_id)
        return self.session.scalars(query.order_by(Candidate.point.nulls_last(), Candidate.name)).all()

    def get(self, candidate_id: UUID) -> Candidate:
        """One candidate; NotFound for another owner's."""
        return self._get(Candidate, candidate_id)

    def in_slot(self, job_id: UUID, point: int) -> Candidate | None:
        """The candidate in a slot of a job, if the search filled it."""
        query = self._owned(Candidate).where(Candidate.job_id == job_id, Candidate.point == point)
        return self.session.scalars(query).one_or_none()

    def counts(self, job_ids: Collection[UUID]) -> dict[UUID, int]:
        """How many candidates each job has."""
        query = select(Candidate.job_id, func.count()).where(
            Candidate.owner_id == self.owner_id, Candidate.job_id.in_(job_ids)
        )
        return dict(self.session.execute(query.group_by(Candidate.job_id)).all())


class ArtifactRepository(Repository):
    """The owner's files to download."""

    def of_job(self, job_id: UUID) -> Sequence[Artifact]:
        """All files of a job, oldest first."""
        return self.session.scalars(self._owned(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.id)).all()

    def get(self, artifact_id: UUID) -> Artifact:
        """One file; NotFound for another owner's."""
        return self._get(Artifact, artifact_id)


class StageResultRepository(Repository):
    """The owner's outputs by the key of their inputs."""

    def find(self, input_key: str) -> StageResult | None:
        """An output that the same inputs gave before."""
        return self.session.get(StageResult, (self.owner_id, input_key))

    def keep(self, input_key: str, result: dict[str, Any], files: Sequence[dict[str, Any]]) -> None:
        """Remembers an output. The first one stays where two tasks computed the same."""
        row = {"owner_id": self.owner_id, "input_key": input_key, "result": result, "files": list(files)}
        self.session.execute(insert(StageResult).values(row).on_conflict_do_nothing())

    def forget(self, input_key: str) -> None:
        """Drops an output, for example because its files are gone."""
        if (row := self.find(input_key)) is not None:
            self.session.delete(row)
