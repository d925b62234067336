"""A point as one archive, put together from rows and stored files when it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from uuid import UUID

from sqlalchemy.orm import Session

from api.downloads import Download
from api.results import candidates_of, report_of
from core.deploy.archive import write_zip
from core.deploy.bundle import NO_DATA, Point, PointFile, Source, SourceFile, bundle_entries
from core.errors import Conflict
from core.figures.point_figures import point_figures, point_plots
from core.jobs.specification import JobSpecification
from core.policy import Policy
from core.store.artifacts import ArtifactStore
from core.store.repositories.jobs import JobRepository
from core.store.repositories.results import ArtifactRepository, CandidateRepository
from core.store.repositories.uploads import DatasetRepository, ModelRepository
from core.store.tables import Candidate, Job

CHUNK_BYTES = 1 << 20


def point_of(session: Session, owner: UUID, artifacts: ArtifactStore, candidate_id: UUID) -> Point:
    """What a candidate's bundle is made from. Conflict until its files are written."""
    candidate = CandidateRepository(session, owner).get(candidate_id)
    files = _files(session, owner, artifacts, candidate)
    if candidate.state != "exported" or not files:
        raise Conflict(f"the files of {candidate.name} are not written", hint="wait until the point is exported")
    job = JobRepository(session, owner).get(candidate.job_id).job
    report = report_of(session, owner, job.id).model_dump(mode="json")
    candidates = [each.model_dump(mode="json") for each in candidates_of(session, owner, job.id)]
    (shown,) = (each for each in candidates if each["id"] == str(candidate.id))
    return Point(
        name=candidate.name,
        policy=Policy.model_validate(candidate.policy),
        specification=JobSpecification.model_validate(job.specification),
        figures=point_figures(shown, report),
        provenance=report["provenance"] or {"seed": job.specification.get("seed", 0)},
        model=_model(session, owner, job),
        dataset=_dataset(session, owner, job),
        files=files,
        plots=point_plots({"specification": job.specification}, candidates, report, shown),
    )


def written(point: Point, folder: Path) -> tuple[Download, IO[bytes]]:
    """The archive in a nameless file of `folder`, whoever takes it closes it, and how it is offered."""
    file = TemporaryFile(dir=folder)  # noqa: SIM115 - it is read while the answer is sent
    try:
        write_zip(file, bundle_entries(point))
        size_bytes = file.tell()
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except BaseException:
        file.close()
        raise
    name = f"{point.name}.bundle.zip"
    return Download(name, "application/zip", size_bytes, sha256, partial(_read, file)), file


def _read(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    for position in range(start, end, CHUNK_BYTES):
        yield file.read(min(CHUNK_BYTES, end - position))


def _files(session: Session, owner: UUID, artifacts: ArtifactStore, candidate: Candidate) -> list[PointFile]:
    rows = ArtifactRepository(session, owner).of_job(candidate.job_id)
    return [
        PointFile(
            row.filename.removeprefix(f"{candidate.name}."), row.size_bytes, row.sha256,
            partial(artifacts.stream, row.sha256),
        )
        for row in rows
        if row.candidate_id == candidate.id
    ]  # fmt: skip


def _model(session: Session, owner: UUID, job: Job) -> Source:
    row = ModelRepository(session, owner).get(job.model_id)
    files = (SourceFile(row.filename, row.sha256),)
    return Source(str(row.id), row.name, files, row.architecture, row.preprocessing)


def _dataset(session: Session, owner: UUID, job: Job) -> Source:
    if job.dataset_id is None:
        return NO_DATA
    repository = DatasetRepository(session, owner)
    row = repository.get(job.dataset_id)
    files = tuple(SourceFile(file.filename, file.sha256, file.split) for file in repository.files(row.id))
    return Source(str(row.id), row.name, files, preprocessing=row.preprocessing)
