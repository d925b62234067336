"""A job's events as they happen (server-sent events, WHATWG HTML 9.2).

Events are rows, in order; a client that comes back with Last-Event-ID misses none. Beside them, `state` carries the
whole job whenever it changed. The stream ends with the job; a client that returns after that is told so with 204.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool

from api.job_view import JobViews
from api.schemas import JobAnswer
from api.services import Services
from core.errors import NotFound
from core.store.job_state import ENDED
from core.store.repositories.events import EventRepository
from core.store.tables import Event

POLL_S = 0.5
KEEPALIVE_S = 15.0
_BATCH = 500
_CLOCKS = {"elapsed_s", "eta_s"}  # change by themselves; not worth a message


class Feed:
    """One client's view of one job, from the event after `last_id` on. Making it raises NotFound."""

    def __init__(self, services: Services, owner: UUID, job_id: UUID, last_id: int) -> None:
        self._services = services
        self._owner = owner
        self._job_id = job_id
        self.seen_id = last_id
        self.ended = self.behind = False
        self._shown: dict[str, object] = {}
        self._sent_at = time.monotonic()
        self.job = self._view()

    def _view(self) -> JobAnswer:
        with self._services.sessions() as session:
            return JobViews(session, self._owner, self._services.settings.workers).one(self._job_id)

    def newer(self) -> list[bytes]:
        """Messages for what happened since the last call, oldest first; sets `ended` with the last of them."""
        with self._services.sessions() as session:
            self.job = JobViews(session, self._owner, self._services.settings.workers).one(self._job_id)
            rows = EventRepository(session, self._owner).after(self._job_id, self.seen_id, _BATCH)
        self.behind = len(rows) == _BATCH
        self.ended = self.job.state in ENDED and not self.behind
        self.seen_id = rows[-1].id if rows else self.seen_id
        # Of a change of state the job itself says more than the event: see _state.
        events = [_event(row) for row in rows if row.kind != "state"]
        return events + self._state()

    def _state(self) -> list[bytes]:
        shown = self.job.model_dump(mode="json", exclude=_CLOCKS)
        if shown == self._shown:
            return []
        self._shown = shown
        return [_message("state", self.job.model_dump_json(), self.seen_id)]

    def last_id(self) -> int:
        """Id of the job's newest event, seen or not."""
        with self._services.sessions() as session:
            return EventRepository(session, self._owner).last_id(self._job_id)

    async def stream(self) -> AsyncIterator[bytes]:
        """Messages until the job has ended or the server stops. A database that is away for a moment is waited for."""
        stopping = self._services.stopping
        while not (self.ended or stopping.is_set()):
            try:
                messages = await run_in_threadpool(self.newer)
            except NotFound:  # deleted meanwhile
                return
            except (OperationalError, InterfaceError, PoolTimeout):
                messages = []
            for message in messages or self._ping():
                yield message
                self._sent_at = time.monotonic()
            if not (self.ended or self.behind):
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), POLL_S)

    def _ping(self) -> list[bytes]:
        return [KEEPALIVE_COMMENT] if time.monotonic() - self._sent_at > KEEPALIVE_S else []


def _message(kind: str, data: str, event_id: int) -> bytes:
    return format_sse_event(event=kind, data_str=data, id=str(event_id))


def nothing_new(feed: Feed) -> bool:
    """Whether the job has ended and the client has seen all of it."""
    return feed.job.state in ENDED and feed.last_id() <= feed.seen_id


def _event(row: Event) -> bytes:
    """A row as a message, with the time at which it was written."""
    return _message(row.kind, json.dumps({**row.payload, "at": row.created_at.isoformat()}), row.id)
