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
    drawn = _draw(services, session, owner, job_id, name, query)
    headers = {"Content-Disposition": content_disposition(f"{name}.csv")}
    return Response(drawn.to_csv(), media_type="text/csv; charset=utf-8", headers=headers)


def _draw(services: Services, session: Session, owner: UUID, job_id: UUID, name: str, query: FigureQuery) -> Figure:
    job = JobViews(session, owner, services.settings.workers).one(job_id).model_dump(mode="json")
    candidates = [candidate.model_dump(mode="json") for candidate in candidates_of(session, owner, job_id)]
    return figure(name, job, candidates, report_of(session, owner, job_id).model_dump(mode="json"), query)
