"""Measurements that people made of a candidate on devices of their own."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from api.dependencies import Principal, SessionDep
from api.documentation import errors, json_body
from api.json_body import json_of
from api.measurements import UNITS, MeasurementAnswer, NewMeasurement
from api.schemas import Listing
from core.errors import Conflict, InvalidInput, NotFound, TooLarge, UnsupportedFormat
from core.store.repositories.measurements import MeasurementRepository

router = APIRouter(prefix="/candidates/{candidate_id}/measurements", tags=["measurements"])

Sent = Annotated[NewMeasurement, Depends(json_of(NewMeasurement, hint=UNITS))]


@router.post(
    "",
    status_code=201,
    responses=errors(NotFound, Conflict, InvalidInput, TooLarge, UnsupportedFormat),
    openapi_extra=json_body(NewMeasurement),
)
def add_measurement(candidate_id: UUID, sent: Sent, session: SessionDep, owner: Principal) -> MeasurementAnswer:
    """Keep what was measured on an own device; the front shows it beside the simulated point."""
    row = MeasurementRepository(session, owner).add(
        candidate_id, device=sent.device, latency_s=sent.latency_s, energy_j=sent.energy_j, accuracy=sent.accuracy,
        on=sent.date, note=sent.note, target=sent.target,
    )  # fmt: skip
    session.refresh(row)
    return MeasurementAnswer.model_validate(row)


@router.get("", responses=errors(NotFound, InvalidInput))
def list_measurements(candidate_id: UUID, session: SessionDep, owner: Principal) -> Listing[MeasurementAnswer]:
    """All measurements of a candidate by date."""
    rows = MeasurementRepository(session, owner).of_candidate(candidate_id)
    return Listing(items=[MeasurementAnswer.model_validate(row) for row in rows])


@router.delete("/{measurement_id}", status_code=204, responses=errors(NotFound, InvalidInput))
def delete_measurement(candidate_id: UUID, measurement_id: UUID, session: SessionDep, owner: Principal) -> None:
    """Delete a measurement."""
    MeasurementRepository(session, owner).delete(candidate_id, measurement_id)
