"""What people measured of candidates on devices of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import func, select

from core.errors import Conflict, InvalidInput, NotFound
from core.store.repositories.repository import Repository
from core.store.repositories.results import CandidateRepository
from core.store.tables import Candidate, Job, Measurement, new_id

MEASUREMENTS_LIMIT = 100


class MeasurementRepository(Repository):
    """The owner's measurements."""

    def add(
        self,
        candidate_id: UUID,
        *,
        device: str,
        latency_s: float | None,
        energy_j: float | None,
        accuracy: float | None,
        on: date,
        note: str = "",
        target: str | None = None,
    ) -> Measurement:
        """A measurement of one candidate; NotFound for another owner's, Conflict where it has very many.

        `target` is one of the job's, its first if none is named.
        """
        candidate = CandidateRepository(self.session, self.owner_id).get(candidate_id)
        count = select(func.count()).where(Measurement.candidate_id == candidate_id)
        if (self.session.scalar(count) or 0) >= MEASUREMENTS_LIMIT:
            raise Conflict(f"this point has {MEASUREMENTS_LIMIT} measurements", hint="delete one of them first")
        row = Measurement(
            id=new_id(), owner_id=self.owner_id, candidate_id=candidate_id, target=self._target(candidate, target),
            device=device, latency_s=latency_s, energy_j=energy_j, accuracy=accuracy, date=on, note=note,
        )  # fmt: skip
        self.session.add(row)
        self.session.flush()
        return row

    def _target(self, candidate: Candidate, named: str | None) -> str:
        specification = self.session.scalars(select(Job.specification).where(Job.id == candidate.job_id)).one()
        targets: list[str] = specification["targets"]
        if named is not None and named not in targets:
            raise InvalidInput(f"this job has no target {named!r:.80}", hint=f"choose one of {', '.join(targets)}")
        return named or targets[0]

    def of_candidate(self, candidate_id: UUID) -> Sequence[Measurement]:
        """Those of one candidate by date; NotFound for another owner's."""
        CandidateRepository(self.session, self.owner_id).get(candidate_id)
        query = self._owned(Measurement).where(Measurement.candidate_id == candidate_id)
        return self.session.scalars(query.order_by(Measurement.date, Measurement.id)).all()

    def of_job(self, job_id: UUID) -> dict[UUID, list[Measurement]]:
        """Those of all candidates of a job, by candidate and date; candidates without one are left out."""
        query = self._owned(Measurement).join(Candidate, Candidate.id == Measurement.candidate_id)
        query = query.where(Candidate.job_id == job_id).order_by(Measurement.date, Measurement.id)
        found: dict[UUID, list[Measurement]] = {}
        for row in self.session.scalars(query):
            found.setdefault(row.candidate_id, []).append(row)
        return found

    def delete(self, candidate_id: UUID, measurement_id: UUID) -> None:
        """Deletes a measurement of that candidate."""
        row = self._get(Measurement, measurement_id)
        if row.candidate_id != candidate_id:
            raise NotFound(f"there is no measurement {measurement_id} of this candidate")
        self.session.delete(row)
