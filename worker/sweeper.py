"""Finds what got lost: expired leases, queued tasks without a message, checkpoints of tasks that have ended."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from core.settings import Settings
from core.store.leases import Claim
from core.store.sweeping import expired, open_tasks, requeue_expired, take_sweep_lock, undelivered
from worker.doorbell import Doorbell
from worker.pool import ChildPool
from worker.transactions import UNREACHABLE, Transactions

log = logging.getLogger("bitfront.sweeper")

TIDY_EVERY_S = 60.0


class Sweeper:
    """A thread of every worker; an advisory lock lets one sweep at a time."""

    def __init__(self, settings: Settings, transactions: Transactions, doorbell: Doorbell, children: ChildPool) -> None:
        self._settings = settings
        self._transactions = transactions
        self._doorbell = doorbell
        self._children = children
        self._trust_leases_from = 0.0
        self._tidied_at = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sweep_until_stopped, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begins to sweep."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

    def _sweep_until_stopped(self) -> None:
        while not self._stopped.wait(self._settings.sweep_s):
            try:
                self.sweep()
            except UNREACHABLE as error:
                # no one could renew a lease meanwhile: give everyone the time to
                self._trust_leases_from = time.monotonic() + self._settings.lease_s
                log.warning("no sweep: %s", str(error).splitlines()[0])

    def sweep(self) -> None:
        """One round."""
        if time.monotonic() >= self._trust_leases_from:
            for lost in self._transactions.once(self._expired):
                log.warning("task %s (%s) lost its worker in attempt %d", lost.task_id, lost.stage, lost.attempt)
                requeue = partial(requeue_expired, lost=lost, max_attempts=self._settings.max_attempts)
                self._transactions.once(requeue)
        for task_id in self._transactions.once(self._undelivered):
            self._doorbell.ring(task_id)
        self._children.retire_idle()
        if time.monotonic() - self._tidied_at > TIDY_EVERY_S:
            self._tidied_at = time.monotonic()
            self._tidy_checkpoints(self._settings.data_dir / "checkpoints")

    def _expired(self, session: Session) -> list[Claim]:
        return expired(session) if take_sweep_lock(session) else []

    def _undelivered(self, session: Session) -> list[UUID]:
        messages = self._doorbell.waiting()
        if messages is None or not take_sweep_lock(session):
            return []
        return list(undelivered(session, messages=messages, older_than_s=self._settings.sweep_s))

    def _tidy_checkpoints(self, checkpoints: Path) -> None:
        """Deletes the checkpoints of tasks of which no attempt will follow."""
        if not checkpoints.is_dir():
            return
        named = {UUID(path.name): path for path in checkpoints.iterdir() if _is_id(path.name)}
        still_open = self._transactions.once(lambda session: open_tasks(session, list(named)))
        for task_id in named.keys() - still_open:
            shutil.rmtree(named[task_id], ignore_errors=True)


def _is_id(name: str) -> bool:
    return len(name) == 36 and set(name) <= set("0123456789abcdef-")
