"""Networks: uploaded, inspected in a child process, then ready for jobs or rejected with the reason."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from api.dependencies import Principal, ServicesDep, SessionDep
from api.documentation import errors, form_body
from api.pagination import PageQuery, cursor_after
from api.schemas import Listing, ModelAnswer, ModelSummary
from api.services import Services
from api.upload_fields import name_of, only, preprocessing_of
from api.uploads import Upload, receive_upload
from core.catalogue import load_catalogue
from core.errors import BrokenFile, Conflict, InvalidInput, NotFound, TooLarge, UnsupportedFormat
from core.graph.file_kind import sniff_model_file
from core.store.artifacts import StoredFile
from core.store.database import unit_of_work
from core.store.repositories.uploads import ModelRepository
from core.store.tables import Model

router = APIRouter(prefix="/models", tags=["models"])

_FORM = form_body(
    name="what to call it; the file's name by default",
    architecture="for safetensors: an id from /methods, architectures",
    preprocessing='JSON: {"scale": 255, "mean": [...], "std": [...], "channel_order": "rgb", "size": [h, w]}',
)


@router.post(
    "",
    status_code=201,
    responses=errors(InvalidInput, UnsupportedFormat, BrokenFile, TooLarge),
    openapi_extra=_FORM,
)
async def upload_model(request: Request, services: ServicesDep, owner: Principal) -> ModelAnswer:
    """Upload ONNX, or safetensors with a named architecture. The answer's state is `inspecting`."""
    async with receive_upload(request, services.uploads, services.settings.max_upload_bytes) as upload:
        return await run_in_threadpool(_add, services, owner, upload)


def _add(services: Services, owner: UUID, upload: Upload) -> ModelAnswer:
    only(upload.fields, "name", "architecture", "preprocessing")
    kind = sniff_model_file(upload.path, upload.filename)
    name, architecture = name_of(upload), _architecture(upload, kind)
    preprocessing = preprocessing_of(upload)
    with unit_of_work(services.sessions, services.enqueue) as session:
        model = ModelRepository(session, owner).add(
            name=name,
            filename=upload.filename,
            kind=kind,
            stored=StoredFile(upload.sha256, upload.size_bytes),
            architecture=architecture,
            preprocessing=preprocessing.model_dump(mode="json") if preprocessing else None,
        )
        services.artifacts.put_file(upload.path, move=True)  # last before the commit: a row never lacks its file
        return model_answer(model)


def _architecture(upload: Upload, kind: str) -> str | None:
    given = upload.fields.get("architecture", "").strip() or None
    if kind == "onnx":
        if given is not None:
            raise InvalidInput("An ONNX file describes its own architecture.", hint="Leave the field out.")
        return None
    known = [card["id"] for card in load_catalogue()["architectures"]]
    if given not in known:
        wrong = f"There is no architecture {given[:80]!r}." if given else "A safetensors file needs its architecture."
        raise InvalidInput(wrong, hint=f"Send the field 'architecture', one of: {', '.join(known)}.", choices=known)
    return given


@router.get("", responses=errors(InvalidInput))
def list_models(session: SessionDep, owner: Principal, page: PageQuery) -> Listing[ModelSummary]:
    """Networks, newest first, without their layers."""
    found = ModelRepository(session, owner).page(page.after, page.limit)
    return Listing(items=[_summary(row) for row in found.items], next=cursor_after(found.next))


@router.get("/{model_id}", responses=errors(NotFound, InvalidInput))
def get_model(model_id: UUID, session: SessionDep, owner: Principal) -> ModelAnswer:
    """One network with its inventory."""
    return model_answer(ModelRepository(session, owner).get(model_id))


@router.delete("/{model_id}", status_code=204, responses=errors(NotFound, Conflict, InvalidInput))
def delete_model(model_id: UUID, session: SessionDep, owner: Principal) -> None:
    """Delete a network that no job uses."""
    ModelRepository(session, owner).delete(model_id)


def model_answer(row: Model) -> ModelAnswer:
    """A row as JSON, with its layers."""
    return ModelAnswer(**_summary(row).model_dump(), inventory=row.inventory)


def _summary(row: Model) -> ModelSummary:
    summary = ModelSummary.model_validate(row)
    if row.inventory is None:
        return summary
    facts = {name: row.inventory.get(name) for name in ("classes", "input_shape", "total_parameters", "total_macs")}
    return summary.model_copy(update={**facts, "layer_count": len(row.inventory.get("layers", ()))})
