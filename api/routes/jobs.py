"""Jobs: sent as data, planned into tasks, followed by polling or as events, cancelled."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import Response, StreamingResponse

from api.dependencies import Principal, ServicesDep, SessionDep
from api.documentation import errors, json_body
from api.events import Feed, nothing_new
from api.job_submission import submit
from api.job_view import JobViews
from api.json_body import json_of
from api.pagination import PageQuery, cursor_after
from api.results import artifacts_of, candidates_of
from api.schemas import ArtifactAnswer, CandidateAnswer, JobAnswer, Listing
from api.targets import listed_specification
from core.errors import Conflict, InvalidInput, InvalidSpecification, NotFound
from core.jobs.specification import JobSpecification
from core.store.repositories.jobs import JobRepository

router = APIRouter(prefix="/jobs", tags=["jobs"])

Specification = Annotated[JobSpecification, Depends(json_of(JobSpecification, InvalidSpecification))]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="a request repeated with its key gives the job it made first"),
]
LastEventId = Annotated[int, Header(ge=0, lt=2**63, description="the last event that was seen")]


@router.post(
    "",
    status_code=201,
    responses=errors(NotFound, Conflict, InvalidInput, InvalidSpecification),
    openapi_extra=json_body(JobSpecification),
)
def create_job(
    specification: Specification,
    services: ServicesDep,
    session: SessionDep,
    owner: Principal,
    idempotency_key: IdempotencyKey = None,
) -> JobAnswer:
    """Accept a job. Model and data set must be ready, and every name in it known."""
    job = submit(session, owner, specification, idempotency_key)
    return JobViews(session, owner, services.settings.workers).one(job.id)


@router.get("", responses=errors(InvalidInput))
def list_jobs(services: ServicesDep, session: SessionDep, owner: Principal, page: PageQuery) -> Listing[JobAnswer]:
    """Jobs, newest first; the rows of their own tables are told one job at a time."""
    found = JobRepository(session, owner).page(page.after, page.limit)
    jobs = JobViews(session, owner, services.settings.workers).many(found.items)
    short = [job.model_copy(update={"specification": listed_specification(job.specification)}) for job in jobs]
    return Listing(items=short, next=cursor_after(found.next))


@router.get("/{job_id}", responses=errors(NotFound, InvalidInput))
def get_job(job_id: UUID, services: ServicesDep, session: SessionDep, owner: Principal) -> JobAnswer:
    """One job as it stands."""
    return JobViews(session, owner, services.settings.workers).one(job_id)


@router.delete("/{job_id}", status_code=204, responses=errors(NotFound, Conflict, InvalidInput))
def delete_job(job_id: UUID, session: SessionDep, owner: Principal) -> None:
    """Delete a job that has ended, with everything it made."""
    JobRepository(session, owner).delete(job_id)


@router.post("/{job_id}/cancel", status_code=202, responses=errors(NotFound, Conflict, InvalidInput))
def cancel_job(job_id: UUID, services: ServicesDep, session: SessionDep, owner: Principal) -> JobAnswer:
    """Ask the job to end. What runs is stopped within seconds; 409 once it has ended."""
    JobRepository(session, owner).request_cancel(job_id)
    return JobViews(session, owner, services.settings.workers).one(job_id)


@router.get("/{job_id}/candidates", responses=errors(NotFound, InvalidInput))
def list_candidates(job_id: UUID, session: SessionDep, owner: Principal) -> Listing[CandidateAnswer]:
    """All candidates of a job: points of the search, uniform baselines, own policies."""
    JobRepository(session, owner).get(job_id)
    return Listing(items=candidates_of(session, owner, job_id))


@router.get("/{job_id}/artifacts", responses=errors(NotFound, InvalidInput))
def list_artifacts(job_id: UUID, session: SessionDep, owner: Principal) -> Listing[ArtifactAnswer]:
    """All files of a job."""
    JobRepository(session, owner).get(job_id)
    return Listing(items=artifacts_of(session, owner, job_id))


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "state, task, metric, candidate, log", "content": {"text/event-stream": {}}},
        204: {"description": "The job has ended and everything was seen: do not come back."},
        **errors(NotFound, InvalidInput),
    },
)
def follow_job(
    job_id: UUID, request: Request, services: ServicesDep, owner: Principal, last_event_id: LastEventId = 0
) -> Response:
    """What happens, as server-sent events, until the job has ended. `state` carries the job as GET would."""
    feed = Feed(services, owner, job_id, last_event_id)
    if "last-event-id" in request.headers and nothing_new(feed):
        return Response(status_code=204)
    return StreamingResponse(feed.stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
