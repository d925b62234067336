"""JSON bodies, read strictly: bounded in size and depth, no duplicate keys, no NaN, no number that becomes infinite."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from api.errors import MalformedRequest, RequestTimeout
from api.problems import from_validation
from core.errors import InvalidInput, TooLarge, UnsupportedFormat

MAX_JSON_BYTES = 4_000_000
MAX_DEPTH = 32
IDLE_TIMEOUT_S = 30.0

M = TypeVar("M", bound=BaseModel)


async def chunks(request: Request, idle_timeout_s: float = IDLE_TIMEOUT_S) -> AsyncIterator[bytes]:
    """The body as it arrives. A sender that is silent too long is cut off."""
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(idle_timeout_s):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise RequestTimeout(f"Nothing arrived for {idle_timeout_s:g} seconds.") from error
        except ClientDisconnect as error:
            raise MalformedRequest("The connection was closed before the whole request had arrived.") from error
        if chunk is None:
            return
        yield chunk


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, refused as soon as it is longer than `limit` bytes, whatever its header said."""
    body = bytearray()
    async for chunk in chunks(request):
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"The request is longer than {limit:,} bytes.", hint="Send less.", limit_bytes=limit)
    return bytes(body)


def strict_json(text: bytes | str) -> Any:
    """Parse JSON; InvalidInput for whatever two readers could understand differently."""
    try:
        value = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_float=_finite
        )
    except RecursionError as error:
        raise _too_deep() from error
    except UnicodeDecodeError as error:
        raise InvalidInput("This is not JSON in UTF-8.") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"This is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidInput("A number in this JSON has too many digits.") from error
    _check_depth(value)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise InvalidInput(f"The key {name[:80]!r} stands twice in one object.")
        result[name] = value
    return result


def _no_constant(name: str) -> None:
    raise InvalidInput(f"{name} is not a number that JSON knows.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidInput(f"{text[:40]} is too large a number.")
    return value


def _too_deep() -> InvalidInput:
    return InvalidInput(f"This JSON is nested more than {MAX_DEPTH} levels deep.")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for holder in level for item in _items(holder)]
        if not level:
            return
    raise _too_deep()


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, str):
        check_text(value)
    return value if isinstance(value, list) else []


def check_text(text: str) -> str:
    """The text, if a database and every reader can hold it."""
    if "\0" in text:
        raise InvalidInput("A text contains the character NUL.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput("A text contains half of a surrogate pair.")
    return text


def json_of(
    model: type[M], error_kind: type[InvalidInput] = InvalidInput, hint: str = ""
) -> Callable[[Request], Awaitable[M]]:
    """A dependency that reads the body as `model`. `hint` is told with whatever does not fit."""

    async def read(request: Request) -> M:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise UnsupportedFormat("The body must be JSON.", hint="Send the header Content-Type: application/json.")
        value = strict_json(await read_body(request, MAX_JSON_BYTES))
        try:
            return model.model_validate(value)
        except ValidationError as error:
            refusal = from_validation(error, error_kind)
            refusal.hint = refusal.hint or hint
            raise refusal from error

    return read
