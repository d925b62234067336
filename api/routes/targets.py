"""Hardware: what ships with Bitfront, and what people describe, measure and fit themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from api.dependencies import Principal, SessionDep
from api.documentation import errors, json_body
from api.downloads import content_disposition
from api.json_body import json_of
from api.schemas import Listing
from api.targets import (
    TargetAnswer,
    TargetCheck,
    TargetText,
    find_target,
    listed,
    own_answer,
    refuse_shipped,
    shipped_answer,
)
from core.errors import Conflict, InvalidInput, NotFound, TooLarge, UnsupportedFormat
from core.hardware.target_file import check_target_text, read_target_text, target_toml
from core.hardware.targets import load_targets
from core.store.repositories.targets import TargetRepository

router = APIRouter(prefix="/targets", tags=["targets"])

Id = Annotated[str, Path(max_length=200)]
Text = Annotated[TargetText, Depends(json_of(TargetText))]
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
    """A target as TOML: as it was sent, or what a target that ships says, to start from."""
    found = find_target(session, owner, target_id)
    own = target_id not in load_targets()
    text = TargetRepository(session, owner).get(target_id).toml if own else target_toml(found)
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
