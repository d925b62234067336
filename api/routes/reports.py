"""What a job found, to look at: the report and the figures with their data."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.dependencies import Principal, ServicesDep, SessionDep
from api.documentation import errors
from api.downloads import content_disposition
from api.job_view import JobViews
from api.results import candidates_of, report_of
from api.schemas import ReportAnswer
from api.services import Services
from core.errors import InvalidInput, NotFound
from core.figures import Figure, FigureQuery, figure
from core.figures.own_table import own_table

router = APIRouter(prefix="/jobs/{job_id}", tags=["reports"])

_REFUSED = errors(NotFound, InvalidInput)
Shown = Annotated[FigureQuery, Query()]


@router.get("/report", responses=_REFUSED)
def get_report(job_id: UUID, session: SessionDep, owner: Principal) -> ReportAnswer:
    """Inventory, sensitivity, costs and provenance; parts are null until their stage has ended."""
    return report_of(session, owner, job_id)


@router.get(
    "/figures/{name}.json",
    response_class=Response,
    responses={200: {"description": "What Plotly.newPlot takes.", "content": {"application/json": {}}}, **_REFUSED},
)
def figure_json(
    job_id: UUID, name: str, query: Shown, services: ServicesDep, session: SessionDep, owner: Principal
) -> Response:
    """A figure (front, bits, sensitivity, latency, curves) for plotly.js, with its data as a table."""
    drawn = _draw(services, session, owner, job_id, name, query)
    return Response(drawn.to_json(), media_type="application/json")


@router.get(
    "/figures/{name}.csv",
    response_class=Response,
    responses={200: {"description": "The figure's data.", "content": {"text/csv": {}}}, **_REFUSED},
)
def figure_csv(
    job_id: UUID, name: str, query: Shown, services: ServicesDep, session: SessionDep, owner: Principal
) -> Response:
    """A figure's data, with units in the heads of its columns."""
    return _csv(_draw(services, session, owner, job_id, name, query), f"{name}.csv")


@router.get(
    "/measurements.csv",
    response_class=Response,
    responses={200: {"description": "A row for each.", "content": {"text/csv": {}}}, **_REFUSED},
)
def measurements_csv(job_id: UUID, session: SessionDep, owner: Principal) -> Response:
    """What was measured of this job's points on own devices until now, each beside what its target says."""
    report = report_of(session, owner, job_id).model_dump(mode="json")
    candidates = [candidate.model_dump(mode="json") for candidate in candidates_of(session, owner, job_id)]
    return _csv(own_table(candidates, report), "measurements.csv")


def _csv(table: Figure, filename: str) -> Response:
    headers = {"Content-Disposition": content_disposition(filename)}
    return Response(table.to_csv(), media_type="text/csv; charset=utf-8", headers=headers)


def _draw(services: Services, session: Session, owner: UUID, job_id: UUID, name: str, query: FigureQuery) -> Figure:
    job = JobViews(session, owner, services.settings.workers).one(job_id).model_dump(mode="json")
    candidates = [candidate.model_dump(mode="json") for candidate in candidates_of(session, owner, job_id)]
    return figure(name, job, candidates, report_of(session, owner, job_id).model_dump(mode="json"), query)
