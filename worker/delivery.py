"""Celery deliveries: the message is acknowledged as soon as the claim is committed, not when the work is done.

So a delivery that dies before the claim comes again, and a long task is not delivered twice because Redis' visibility
timeout ran out. What happens to a claimed task is the lease's business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import Celery, Task
from celery.worker.request import Request

from worker.doorbell import RUN

Acknowledge = Callable[[], None]
Handler = Callable[[UUID, Acknowledge], None]


class _Deliveries:
    """Messages in work by their Celery id, so that the task's body can acknowledge its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Request] = {}

    def add(self, request: Request) -> None:
        with self._lock:
            self._by_id[request.id] = request

    def acknowledge(self, message_id: str) -> None:
        with self._lock:
            request = self._by_id.pop(message_id, None)
        if request is not None:
            request.acknowledge()


def register(app: Celery, handler: Handler) -> None:
    """Makes the application hand each delivery's task id to `handler`, with what acknowledges it."""
    deliveries = _Deliveries()

    class Delivery(Request):  # type: ignore[misc]
        """A delivery that can be acknowledged early."""

        def execute_using_pool(self, pool: Any, **options: Any) -> Any:
            """Remembers the message, then runs as any other."""
            deliveries.add(self)
            return super().execute_using_pool(pool, **options)

    class RunTask(Task):  # type: ignore[misc]
        """The one Celery task there is."""

        name = RUN
        acks_late = True
        ignore_result = True
        Request = Delivery

        def run(self, task_id: str) -> None:
            """Handles one delivery."""
            message_id = self.request.id
            try:
                handler(UUID(task_id), lambda: deliveries.acknowledge(message_id))
            finally:
                deliveries.acknowledge(message_id)

    app.register_task(RunTask())
