"""The example: a network, its data and a job, so that a stranger sees a result within minutes."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.dependencies import Principal, ServicesDep, SessionDep
from api.documentation import errors
from api.job_submission import plan_job
from api.job_view import JobViews
from api.schemas import JobAnswer
from api.services import Example, Services
from core.errors import NotFound
from core.jobs.specification import JobSpecification
from core.store.artifacts import ArtifactStore
from core.store.repositories.uploads import DatasetRepository, ModelRepository
from core.store.tables import Dataset, Model

router = APIRouter(tags=["example"])


@router.post("/example", status_code=201, responses=errors(NotFound))
def run_example(services: ServicesDep, session: SessionDep, owner: Principal) -> JobAnswer:
    """Set up the example where it is not there yet, and start its job. Its files are ours, so nothing is waited for."""
    example = _example(services)
    model = _model(session, owner, services.artifacts, example)
    dataset = _dataset(session, owner, services.artifacts, example)
    specification = JobSpecification.model_validate(example.specification(model.id, dataset.id))
    job = plan_job(session, owner, specification)
    return JobViews(session, owner, services.settings.workers).one(job.id)


def _example(services: Services) -> Example:
    if services.example is None:
        raise NotFound("This installation has no example.", hint="Upload a network and a data set.")
    return services.example


def _model(session: Session, owner: UUID, artifacts: ArtifactStore, example: Example) -> Model:
    repository = ModelRepository(session, owner)
    stored = artifacts.put_file(example.model_path)
    found = repository.named(example.name)
    if found is not None and found.sha256 == stored.sha256:
        return found
    return repository.add(
        name=example.name,
        filename=example.model_path.name,
        kind="onnx",
        stored=stored,
        preprocessing=example.preprocessing,
    )


def _dataset(session: Session, owner: UUID, artifacts: ArtifactStore, example: Example) -> Dataset:
    repository = DatasetRepository(session, owner)
    stored = artifacts.put_file(example.dataset_path)
    found = repository.named(example.name)
    if found is not None and [file.sha256 for file in repository.files(found.id)] == [stored.sha256]:
        return found
    file = (example.dataset_path.name, None, stored)
    return repository.add(name=example.name, files=[file], preprocessing=example.preprocessing)
