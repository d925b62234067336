"""Data sets: one or more uploaded files, inspected together in a child process."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.dependencies import Principal, ServicesDep, SessionDep
from api.documentation import errors, form_body
from api.pagination import PageQuery, cursor_after
from api.schemas import DatasetAnswer, DatasetFileAnswer, DatasetSummary, Listing
from api.services import Services
from api.upload_fields import name_of, only, preprocessing_of, split_of
from api.uploads import Upload, receive_upload
from core.data.file_kind import sniff_dataset_file
from core.data.limits import Limits
from core.errors import BrokenFile, Conflict, InvalidInput, NotFound, TooLarge, UnsupportedFormat
from core.store.artifacts import StoredFile
from core.store.database import unit_of_work
from core.store.repositories.uploads import DatasetRepository
from core.store.tables import Dataset

router = APIRouter(prefix="/datasets", tags=["datasets"])

_REFUSED = errors(InvalidInput, UnsupportedFormat, BrokenFile, TooLarge)
_SPLIT = "train, select or report: what all images of this file are for"


@router.post(
    "",
    status_code=201,
    responses=_REFUSED,
    openapi_extra=form_body(
        name="what to call it; the file's name by default",
        split=_SPLIT,
        preprocessing='JSON: {"scale": 255, "mean": [...], "std": [...], "channel_order": "rgb", "size": [h, w]}',
    ),
)
async def upload_dataset(request: Request, services: ServicesDep, owner: Principal) -> DatasetAnswer:
    """Upload .npz, or .zip with class folders or a labels manifest. The answer's state is `inspecting`."""
    async with receive_upload(request, services.uploads, services.settings.max_upload_bytes) as upload:
        return await run_in_threadpool(_create, services, owner, upload)


@router.post(
    "/{dataset_id}/files",
    status_code=201,
    responses={**_REFUSED, **errors(NotFound, Conflict)},
    openapi_extra=form_body(split=_SPLIT),
)
async def add_file(dataset_id: UUID, request: Request, services: ServicesDep, owner: Principal) -> DatasetAnswer:
    """Add another file to a data set that no job uses yet; it is inspected anew."""
    await run_in_threadpool(_check_exists, services, owner, dataset_id)
    async with receive_upload(request, services.uploads, services.settings.max_upload_bytes) as upload:
        return await run_in_threadpool(_extend, services, owner, dataset_id, upload)


def _check_exists(services: Services, owner: UUID, dataset_id: UUID) -> None:
    with services.sessions() as session:
        DatasetRepository(session, owner).get(dataset_id)


def _create(services: Services, owner: UUID, upload: Upload) -> DatasetAnswer:
    only(upload.fields, "name", "split", "preprocessing")
    _sniff(services, upload)
    name, split, preprocessing = name_of(upload), split_of(upload), preprocessing_of(upload)
    with unit_of_work(services.sessions, services.enqueue) as session:
        dataset = DatasetRepository(session, owner).add(
            name=name,
            files=[(upload.filename, split, StoredFile(upload.sha256, upload.size_bytes))],
            preprocessing=preprocessing.model_dump(mode="json") if preprocessing else None,
        )
        services.artifacts.put_file(upload.path, move=True)  # last before the commit: a row never lacks its file
        return dataset_answer(session, owner, dataset)


def _extend(services: Services, owner: UUID, dataset_id: UUID, upload: Upload) -> DatasetAnswer:
    only(upload.fields, "split")
    _sniff(services, upload)
    stored = StoredFile(upload.sha256, upload.size_bytes)
    with unit_of_work(services.sessions, services.enqueue) as session:
        dataset = DatasetRepository(session, owner).add_file(dataset_id, upload.filename, split_of(upload), stored)
        services.artifacts.put_file(upload.path, move=True)
        return dataset_answer(session, owner, dataset)


def _sniff(services: Services, upload: Upload) -> None:
    sniff_dataset_file(upload.path, upload.filename, Limits(unpacked_bytes=services.settings.max_unpacked_bytes))


@router.get("", responses=errors(InvalidInput))
def list_datasets(session: SessionDep, owner: Principal, page: PageQuery) -> Listing[DatasetSummary]:
    """Data sets, newest first."""
    found = DatasetRepository(session, owner).page(page.after, page.limit)
    return Listing(items=[DatasetSummary.model_validate(row) for row in found.items], next=cursor_after(found.next))


@router.get("/{dataset_id}", responses=errors(NotFound, InvalidInput))
def get_dataset(dataset_id: UUID, session: SessionDep, owner: Principal) -> DatasetAnswer:
    """One data set with its files."""
    return dataset_answer(session, owner, DatasetRepository(session, owner).get(dataset_id))


@router.delete("/{dataset_id}", status_code=204, responses=errors(NotFound, Conflict, InvalidInput))
def delete_dataset(dataset_id: UUID, session: SessionDep, owner: Principal) -> None:
    """Delete a data set that no job uses."""
    DatasetRepository(session, owner).delete(dataset_id)


def dataset_answer(session: Session, owner: UUID, row: Dataset) -> DatasetAnswer:
    """A row as JSON, with its files."""
    files = DatasetRepository(session, owner).files(row.id)
    summary = DatasetSummary.model_validate(row)
    return DatasetAnswer(**summary.model_dump(), files=[DatasetFileAnswer.model_validate(file) for file in files])
