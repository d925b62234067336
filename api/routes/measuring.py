"""Measuring a network on this server: a task, whose result becomes a target of one's own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.dependencies import Principal, SessionDep
from api.documentation import errors, json_body
from api.json_body import json_of
from api.schemas import Json
from core.errors import Conflict, InvalidInput, NotFound, TooLarge, UnsupportedFormat
from core.jobs.measuring_order import MeasuringOrder
from core.store.repositories.measuring import MeasuringRepository
from core.store.tables import Task

router = APIRouter(prefix="/models/{model_id}/measure", tags=["models"])

Order = Annotated[MeasuringOrder, Depends(json_of(MeasuringOrder))]


class MeasuringAnswer(BaseModel):
    """How far a measuring is. Once it has succeeded, the target is there under `target_id`."""

    model_id: UUID
    target_id: str
    state: str = Field(description="queued, running, succeeded or failed")
    progress: float = Field(description="0 to 1")
    message: str = Field(description="the layer that is measured")
    problem: Json | None = None
    finished_at: datetime | None = None


@router.post(
    "",
    status_code=202,
    responses=errors(NotFound, Conflict, InvalidInput, TooLarge, UnsupportedFormat),
    openapi_extra=json_body(MeasuringOrder),
)
def measure_model(model_id: UUID, order: Order, session: SessionDep, owner: Principal) -> MeasuringAnswer:
    """Measure the network's layers and the network on this server, in float and int8, one after another."""
    return _answer(model_id, MeasuringRepository(session, owner).begin(model_id, order))


@router.get("", responses=errors(NotFound, InvalidInput))
def get_measuring(model_id: UUID, session: SessionDep, owner: Principal) -> MeasuringAnswer:
    """How far the last measuring of the network is."""
    return _answer(model_id, MeasuringRepository(session, owner).newest(model_id))


def _answer(model_id: UUID, task: Task) -> MeasuringAnswer:
    return MeasuringAnswer(
        model_id=model_id, target_id=(task.settings or {})["target_id"], state=task.state,
        progress=task.progress or 0.0, message=task.message or "", problem=task.problem, finished_at=task.finished_at,
    )  # fmt: skip
