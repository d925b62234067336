"""Hardware: what ships with Bitfront, and what people describe, measure and fit themselves."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dependencies import Principal, ServicesDep, SessionDep
from api.documentation import errors, form_body, json_body
from api.downloads import content_disposition
from api.job_submission import check_ready
from api.json_body import json_of
from api.schemas import Listing
from api.services import Services
from api.target_measurements import FIELDS, text_of, uploaded_target
from api.targets import (
    FitAnswer,
    FitRequest,
    TargetAnswer,
    TargetCheck,
    TargetText,
    find_target,
    listed,
    own_answer,
    refuse_shipped,
    shipped_answer,
)
from api.uploads import Upload, receive_upload
from core.errors import BrokenFile, Conflict, InvalidInput, NotFound, TooLarge, UnsupportedFormat
from core.graph.inventory import Inventory
from core.hardware.measurements import MAX_BYTES
from core.hardware.target_file import check_target_text, read_target_text
from core.hardware.targets import load_targets, target_text
from core.store.database import unit_of_work
from core.store.repositories.targets import TargetRepository
from core.store.repositories.uploads import ModelRepository

router = APIRouter(prefix="/targets", tags=["targets"])

Id = Annotated[str, Path(max_length=200)]
Text = Annotated[TargetText, Depends(json_of(TargetText))]
FitSent = Annotated[FitRequest, Depends(json_of(FitRequest))]
_WRITING = errors(NotFound, Conflict, InvalidInput, TooLarge, UnsupportedFormat)


@router.get("", responses=errors())
def list_targets(session: SessionDep, owner: Principal) -> Listing[TargetAnswer]:
    """All targets, one's own behind those that ship; long lists among their parameters are left out here."""
    shipped = [shipped_answer(target) for target in load_targets().values()]
    own = [own_answer(row) for row in TargetRepository(session, owner).all()]
    return Listing(items=[listed(each) for each in (*shipped, *own)])


@router.get("/{target_id}", responses=errors(NotFound, InvalidInput))
def get_target(target_id: Id, session: SessionDep, owner: Principal) -> TargetAnswer:
    """One target with all of its parameters."""
    shipped = load_targets()
    if target_id in shipped:
        return shipped_answer(shipped[target_id])
    find_target(session, owner, target_id)
    return own_answer(TargetRepository(session, owner).get(target_id))


@router.get(
    "/{target_id}/toml",
    response_class=Response,
    responses={200: {"description": "TOML.", "content": {"text/plain": {}}}, **errors(NotFound, InvalidInput)},
)
def get_target_toml(target_id: Id, session: SessionDep, owner: Principal) -> Response:
    """A target as TOML, as it was written: to start one's own from, or to change it."""
    shipped = target_id in load_targets()
    text = target_text(target_id) if shipped else TargetRepository(session, owner).get(target_id).toml
    headers = {"Content-Disposition": content_disposition(f"{target_id}.toml")}
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)


@router.post("", status_code=201, responses=_WRITING, openapi_extra=json_body(TargetText))
def add_target(sent: Text, session: SessionDep, owner: Principal) -> TargetAnswer:
    """Keep a target of one's own; the first thing that is wrong with it is told with its line."""
    return own_answer(TargetRepository(session, owner).add(read_target_text(sent.toml), sent.toml))


@router.post("/check", responses=errors(InvalidInput, TooLarge, UnsupportedFormat), openapi_extra=json_body(TargetText))
def check_target(sent: Text) -> TargetCheck:
    """What a text says, or everything that is wrong with it, each with its line; nothing is kept."""
    target, problems = check_target_text(sent.toml)
    return TargetCheck(target=target, problems=list(problems))


@router.post(
    "/measurements",
    status_code=201,
    responses=errors(Conflict, InvalidInput, BrokenFile, TooLarge, UnsupportedFormat),
    openapi_extra=form_body(**FIELDS),
)
async def add_measured_target(request: Request, services: ServicesDep, owner: Principal) -> TargetAnswer:
    """Keep a target whose costs are the rows of a CSV or JSON file; a fault is told with its line.

    Columns: layer and/or shape, weight_bits, activation_bits, latency_s (_ms, _us, _ns), energy_j (_mj, _uj, ...).
    """
    async with receive_upload(request, services.uploads, MAX_BYTES) as upload:
        return await run_in_threadpool(_add_measured, services, owner, upload)


def _add_measured(services: Services, owner: UUID, upload: Upload) -> TargetAnswer:
    target = uploaded_target(upload)
    with unit_of_work(services.sessions, services.enqueue) as session:
        return own_answer(TargetRepository(session, owner).add(target, text_of(target)))


@router.post("/{target_id}/fit", responses=_WRITING, openapi_extra=json_body(FitRequest))
def fit_target(target_id: Id, sent: FitSent, services: ServicesDep, owner: Principal) -> FitAnswer:
    """Fit a target's free parameters to measurements of a network's layers, and show how well they fit.

    The result is kept where `save_as` names an id, and is otherwise a preview.
    """
    from api.target_fit import fitted_target  # noqa: PLC0415 - scipy's optimisers take a second to import

    with services.sessions() as session:
        target = find_target(session, owner, target_id)
        model = ModelRepository(session, owner).get(sent.model_id)
        check_ready("model", model)
        layers = Inventory.model_validate(model.inventory).layers
    fitted = fitted_target(target, layers, sent)
    text = text_of(fitted)
    if sent.save_as is not None:
        read_target_text(text)  # what is kept must read back
        with unit_of_work(services.sessions, services.enqueue) as session:
            TargetRepository(session, owner).put(fitted, text)
    return FitAnswer(target=fitted, toml=text, saved=sent.save_as is not None)


@router.put("/{target_id}", responses=_WRITING, openapi_extra=json_body(TargetText))
def change_target(target_id: Id, sent: Text, session: SessionDep, owner: Principal) -> TargetAnswer:
    """Put another text in the place of an own target's. Jobs keep the target they were made with."""
    refuse_shipped(target_id)
    find_target(session, owner, target_id)
    row = TargetRepository(session, owner).replace(target_id, read_target_text(sent.toml), sent.toml)
    return own_answer(row)


@router.delete("/{target_id}", status_code=204, responses=errors(NotFound, Conflict, InvalidInput))
def delete_target(target_id: Id, session: SessionDep, owner: Principal) -> None:
    """Delete an own target. Jobs keep the target they were made with."""
    refuse_shipped(target_id)
    TargetRepository(session, owner).delete(target_id)
