"""Child processes: one spare that has imported the engine, and those that belong to a job until it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

from worker.process import Child

IDLE_S = 30.0


class ChildPool:
    """Hands out children. A child that has served one job never serves another.

    Children are started on one thread that lives as long as the pool: they end with the thread that started them.
    """

    def __init__(self, start: Callable[[], Child], capacity: int) -> None:
        self._start = start
        self._capacity = capacity
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="children")
        self._lock = threading.Lock()
        self._idle: dict[UUID, list[Child]] = {}
        self._spare: Future[Child] = self._starter.submit(start)
        self._closed = False

    def take(self, job_id: UUID) -> Child:
        """A child that has served this job or nothing yet."""
        while (child := self._take_idle(job_id)) is not None:
            if child.alive:
                return child
            child.retire()
        with self._lock:
            spare = self._spare
            self._spare = self._starter.submit(self._start)
        child = spare.result()
        if child.alive:
            return child
        child.retire()
        return self._starter.submit(self._start).result()

    def _take_idle(self, job_id: UUID) -> Child | None:
        with self._lock:
            waiting = self._idle.get(job_id)
            return waiting.pop() if waiting else None

    def put_back(self, job_id: UUID, child: Child) -> None:
        """Keeps a child for the next task of its job; the longest idle ones make room."""
        child.idle_since = time.monotonic()
        with self._lock:
            self._idle.setdefault(job_id, []).append(child)
        self._retire_oldest(beyond=self._capacity)

    def retire_job(self, job_id: UUID) -> None:
        """Ends the idle children of a job that has ended."""
        with self._lock:
            children = self._idle.pop(job_id, [])
        for child in children:
            child.retire()

    def retire_idle(self, idle_s: float = IDLE_S) -> None:
        """Ends children that no task has wanted for a while."""
        self._retire_oldest(before=time.monotonic() - idle_s)

    def _retire_oldest(self, *, beyond: int = 0, before: float = float("inf")) -> None:
        with self._lock:
            idle = sorted(
                ((child.idle_since, job_id, child) for job_id, each in self._idle.items() for child in each),
                key=lambda entry: entry[0],
            )
            leaving = [entry for entry in idle[: max(0, len(idle) - beyond)] if entry[0] < before]
            for _, job_id, child in leaving:
                self._idle[job_id].remove(child)
            self._idle = {job_id: children for job_id, children in self._idle.items() if children}
        for _, _, child in leaving:
            child.retire()

    def close(self) -> None:
        """Ends every child that is not at work."""
        self._retire_oldest()
        self._starter.shutdown(wait=True)
        self._spare.result().retire()
