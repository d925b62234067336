"""Units of work of the worker, tried again while Postgres does not answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from core.store.database import Enqueue, Sessions, unit_of_work

log = logging.getLogger("bitfront.database")

Answer = TypeVar("Answer")
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
LAST_TRIES_S = 5.0

UNREACHABLE = (OperationalError, InterfaceError, PoolTimeout)


class Transactions:
    """Runs work in one unit of work each. Work must do the same when it is run again."""

    def __init__(self, sessions: Sessions, enqueue: Enqueue) -> None:
        self._sessions = sessions
        self._enqueue = enqueue
        self._stopping = threading.Event()

    def once(self, work: Callable[[Session], Answer]) -> Answer:
        """Runs work and commits; errors of the database pass through."""
        with unit_of_work(self._sessions, self._enqueue) as session:
            return work(session)

    def insist(self, work: Callable[[Session], Answer]) -> Answer:
        """Runs work until the database takes it. A worker that stops gives up after a few seconds."""
        pause_s, give_up_at = FIRST_PAUSE_S, None
        while True:
            try:
                return self.once(work)
            except UNREACHABLE as error:
                if self._stopping.is_set():
                    give_up_at = give_up_at or time.monotonic() + LAST_TRIES_S
                    if time.monotonic() > give_up_at:
                        raise
                log.warning("the database does not answer, trying again: %s", str(error).splitlines()[0])
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def stop_insisting(self) -> None:
        """From now on `insist` gives up after a few seconds."""
        self._stopping.set()
