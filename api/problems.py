"""Every answer that is not a success is a problem document (RFC 9457, application/problem+json).

Members: type, title, status, code (stable), detail (what was wrong), hint (what to do, never empty), sometimes facts.
What was not expected says nothing of the inside: the trace goes to the log under an incident number.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from api.errors import MalformedRequest, MethodNotAllowed
from api.headers import add_security_headers
from core.errors import BitfrontError, InvalidInput, NotFound, TooLarge, Unauthorized, Unavailable

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
_MAX_ERRORS = 20
_SHOWN_CHARACTERS = 200

_HINTS: dict[int, str] = {
    400: "Check the request against /openapi.json.",
    401: "Send the header 'Authorization: Bearer <token>', or sign in at /ui/login.",
    403: "Open the page on this server and repeat what you did there.",
    404: "Check the id: GET the list it should be in.",
    405: "The header Allow lists the methods of this address.",
    408: "Send the request again.",
    409: "Look at the thing's state, and repeat the request once it allows this.",
    413: "Send less, or raise BITFRONT_MAX_UPLOAD_BYTES.",
    415: "Send ONNX, or safetensors with a named architecture; data as .npz or .zip.",
    416: "Ask for a range inside the file.",
    422: "Correct what the message names and send it again.",
    429: "Wait a minute, then try again.",
    500: "Try again; if it happens again, look into the server's log.",
    507: "Free some disk space, then try again.",
    503: "Try again in a few seconds; /health/ready says what is missing.",
}
_BY_STATUS: dict[int, type[BitfrontError]] = {
    401: Unauthorized,
    404: NotFound,
    405: MethodNotAllowed,
    413: TooLarge,
    422: InvalidInput,
    503: Unavailable,
}


class Problem(JSONResponse):
    """A problem document as a response."""

    media_type = PROBLEM_JSON


def problem_response(error: BitfrontError, headers: Mapping[str, str] | None = None) -> Problem:
    """The answer to an expected error."""
    content = error.as_problem()
    content["hint"] = content["hint"] or _HINTS.get(error.status, _HINTS[500])
    extra = dict(headers or {})
    if error.status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="bitfront"'
    if error.status in (429, 503):
        extra.setdefault("Retry-After", "60" if error.status == 429 else "5")
    if error.status == 416 and "size_bytes" in error.detail:
        extra["Content-Range"] = f"bytes */{error.detail['size_bytes']}"
    return Problem(content, error.status, headers=extra)


def listed_errors(errors: Sequence[Any]) -> list[dict[str, str]]:
    """Validation errors as `{"path", "message"}`; what was sent is not repeated."""
    return [
        {"path": ".".join(str(part) for part in error["loc"])[:_SHOWN_CHARACTERS], "message": _sentence(error)}
        for error in errors[:_MAX_ERRORS]
    ]


def _sentence(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if len(message) <= _SHOWN_CHARACTERS else message[:_SHOWN_CHARACTERS] + "…"


def invalid(errors: Sequence[Any], kind: type[InvalidInput] = InvalidInput) -> InvalidInput:
    """One error that names every field that is wrong."""
    listed = listed_errors(errors)
    first = listed[0] if listed else {"path": "request", "message": "not valid"}
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return kind(f"{first['path'] or 'body'}: {first['message']}{more}", errors=listed)


def from_validation(error: ValidationError, kind: type[InvalidInput] = InvalidInput) -> InvalidInput:
    """The same for a pydantic error."""
    return invalid(error.errors(include_url=False, include_context=False, include_input=False), kind)


def _expected(_: Request, error: Exception) -> Problem:
    assert isinstance(error, BitfrontError)  # noqa: S101 - what the handler is registered for
    return problem_response(error)


def _invalid_request(_: Request, error: Exception) -> Problem:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return problem_response(invalid(error.errors()))


def _http_exception(request: Request, error: Exception) -> Problem:
    assert isinstance(error, HTTPException)  # noqa: S101
    kind = _BY_STATUS.get(error.status_code, MalformedRequest if error.status_code < 500 else BitfrontError)
    message = str(error.detail)
    if error.status_code == 404:
        message = f"There is nothing at {request.url.path[:_SHOWN_CHARACTERS]}"
    elif error.status_code == 405:
        message = f"{request.method} is not possible at {request.url.path[:_SHOWN_CHARACTERS]}"
    return problem_response(kind(message), error.headers)


def _database_away(_: Request, error: Exception) -> Problem:
    log.warning("the database does not answer: %s", type(error).__name__)
    return problem_response(Unavailable("The database does not answer."))


def _database_error(request: Request, error: Exception) -> Problem:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return _database_away(request, error)
    return _unexpected(request, error)


def _unexpected(_: Request, error: Exception) -> Problem:
    incident = uuid4().hex[:12]
    log.error("incident %s: %s", incident, type(error).__name__, exc_info=error)
    response = problem_response(BitfrontError("Something went wrong inside the server.", incident=incident))
    add_security_headers(response.headers)  # this answer is made outside the guard
    return response


def add_problem_handlers(app: FastAPI) -> None:
    """Make every failure of `app` a problem document."""
    app.add_exception_handler(BitfrontError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)
    for away in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(away, _database_away)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(Exception, _unexpected)
