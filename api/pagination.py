"""Pages of a list: newest first, continued after a cursor that only this server reads."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from core.errors import InvalidInput
from core.store.repositories.repository import PAGE_LIMIT


@dataclass(frozen=True)
class Position:
    """Where a page begins (after the row of that id) and how long it may be."""

    limit: int
    after: UUID | None


def _position(
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="items per page")] = 50,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
) -> Position:
    return Position(limit, None if cursor is None else decode(cursor))


PageQuery = Annotated[Position, Depends(_position)]


def encode(row_id: UUID) -> str:
    """The cursor that continues after that row."""
    return base64.urlsafe_b64encode(row_id.bytes).decode().rstrip("=")


def decode(cursor: str) -> UUID:
    """The id in a cursor; InvalidInput for anything that `encode` did not make."""
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise InvalidInput("The cursor is not one of ours.", hint="Take `next` of a page, or leave it out.") from error


def cursor_after(row_id: UUID | None) -> str | None:
    """`next` of a page that ends with that row; null where it was the last page."""
    return None if row_id is None else encode(row_id)
