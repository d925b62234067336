"""Ringing the bell: a message with a task's id, sent after the commit."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Protocol
from uuid import UUID


class _Doorbell(Protocol):
    def ring(self, task_id: UUID) -> None: ...
    def waiting(self) -> int | None: ...


class Announcer:
    """Sends through `worker.doorbell`. Celery and redis take half a second to import: that happens beside the start."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._doorbell: _Doorbell | None = None
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Begin to import on a thread of its own."""
        threading.Thread(target=self._open, name="announcer", daemon=True).start()

    def __call__(self, task_id: UUID) -> None:
        """Announce a task. Failures are logged by the doorbell; the sweeper announces again."""
        self._open().ring(task_id)

    def answers(self) -> bool:
        """Whether Redis answers."""
        return self._open().waiting() is not None

    def _open(self) -> _Doorbell:
        with self._lock:
            if self._doorbell is None:
                doorbell: _Doorbell = import_module("worker.doorbell").Doorbell(self._redis_url)
                self._doorbell = doorbell
            return self._doorbell
