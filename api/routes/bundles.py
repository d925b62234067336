"""A point with everything about it, as one archive."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from api.bundles import point_of, written
from api.dependencies import Principal, ServicesDep, SessionDep
from api.documentation import errors
from api.downloads import download_response
from api.errors import RangeNotSatisfiable
from core.errors import Conflict, InvalidInput, NotFound

router = APIRouter(prefix="/candidates/{candidate_id}/bundle", tags=["artifacts"])

_ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A zip; its ETag is its SHA-256.", "content": {"application/zip": {}}},
    206: {"description": "The range that was asked for.", "content": {"application/zip": {}}},
    304: {"description": "The client has it."},
    **errors(NotFound, Conflict, RangeNotSatisfiable, InvalidInput),
}


@router.head("", include_in_schema=False)
@router.get("", response_class=StreamingResponse, responses=_ARCHIVE)
def download_bundle(
    candidate_id: UUID, request: Request, services: ServicesDep, session: SessionDep, owner: Principal
) -> Response:
    """Files, policy, parity, figures, provenance, hashes, how to run it, and a `job.json` that makes it again.

    The same bytes each time once the job has ended; 409 until the point is exported.
    """
    point = point_of(session, owner, services.artifacts, candidate_id)
    download, file = written(point, services.uploads)
    try:
        response = download_response(request, download)
    except BaseException:
        file.close()
        raise
    response.background = BackgroundTask(file.close)
    return response
