"""Files to download."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from api.dependencies import Principal, ServicesDep, SessionDep
from api.documentation import errors
from api.downloads import Download, download_response
from api.errors import RangeNotSatisfiable
from core.errors import InvalidInput, NotFound
from core.store.repositories.results import ArtifactRepository

router = APIRouter(prefix="/artifacts", tags=["artifacts"])

_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file; its ETag is its SHA-256.", "content": {"application/octet-stream": {}}},
    206: {"description": "The range that was asked for.", "content": {"application/octet-stream": {}}},
    304: {"description": "The client has it."},
    **errors(NotFound, RangeNotSatisfiable, InvalidInput),
}


@router.head("/{artifact_id}", include_in_schema=False)
@router.get("/{artifact_id}", response_class=StreamingResponse, responses=_FILE)
def download(
    artifact_id: UUID, request: Request, services: ServicesDep, session: SessionDep, owner: Principal
) -> Response:
    """The file itself, as an attachment. `Range` with one range is served; several are answered with the whole."""
    row = ArtifactRepository(session, owner).get(artifact_id)
    services.artifacts.size_bytes(row.sha256)  # NotFound before the answer has begun
    read = partial(services.artifacts.stream, row.sha256)
    return download_response(request, Download(row.filename, row.media_type, row.size_bytes, row.sha256, read))
