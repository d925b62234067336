"""What the repositories share: the owner, and pages in order of age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.store.tables import Artifact, Candidate, Dataset, Job, Measurement, Model, OwnTarget, Task

Row = TypeVar("Row", Model, Dataset, Job, Task, Candidate, Artifact, Measurement, OwnTarget)
PAGE_LIMIT = 200


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows, newest first, and the id after which the next page begins; None on the last page."""

    items: Sequence[Row]
    next: UUID | None


class Repository:
    """Queries on behalf of one owner."""

    def __init__(self, session: Session, owner_id: UUID) -> None:
        self.session = session
        self.owner_id = owner_id

    def _owned(self, table: type[Row]) -> Select[Row]:
        return select(table).where(table.owner_id == self.owner_id)

    def _get(self, table: type[Row], row_id: UUID) -> Row:
        row = self.session.scalars(self._owned(table).where(table.id == row_id)).one_or_none()
        if row is None:
            raise NotFound(f"there is no {table.__name__.lower()} {row_id}")
        return row

    def _page(self, query: Select[Row], table: type[Row], after: UUID | None, limit: int) -> Page[Row]:
        """Ids sort by age (UUID version 7), so the last id of a page is where the next one begins."""
        limit = max(1, min(limit, PAGE_LIMIT))
        if after is not None:
            query = query.where(table.id < after)
        rows = self.session.scalars(query.order_by(table.id.desc()).limit(limit + 1)).all()
        more = len(rows) > limit
        return Page(rows[:limit], rows[limit - 1].id if more else None)
