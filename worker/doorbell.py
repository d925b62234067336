"""The queue: Celery messages that carry a task's id and nothing else. A lost or doubled one does no harm."""

from __future__ import annotations

import logging
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import redis
from celery import Celery
from kombu.exceptions import OperationalError

log = logging.getLogger("bitfront.queue")

QUEUE = "bitfront"
RUN = "bitfront.run"


def broker_url(redis_url: str) -> str:
    """The address as kombu writes it: a Unix socket has another scheme there than in redis-py."""
    if not redis_url.startswith("unix://"):
        return redis_url
    address = urlsplit(redis_url)
    database = parse_qs(address.query).get("db", ["0"])[0]
    return f"redis+socket://{address.path}?virtual_host={database}"


def make_app(redis_url: str) -> Celery:
    """A Celery application that only knows where the queue is."""
    app = Celery("bitfront", broker=broker_url(redis_url))
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_acks_late=True,  # worker.delivery acknowledges once the claim is committed
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a waiting message belongs to whoever is free first
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1},
    )
    return app


class Doorbell:
    """Announces queued tasks. When Redis does not answer, that is only logged: the sweeper announces them again."""

    def __init__(self, redis_url: str) -> None:
        self._app = make_app(redis_url)
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=5)

    def ring(self, task_id: UUID) -> None:
        """Sends the message for one task. Call it after the commit that queued the task."""
        try:
            self._app.send_task(RUN, args=[str(task_id)], queue=QUEUE)
        except OperationalError as error:
            log.warning("task %s is queued but not announced: %s", task_id, error)

    def waiting(self) -> int | None:
        """How many messages wait; None where Redis does not answer."""
        try:
            return int(self._redis.llen(QUEUE))
        except redis.RedisError:
            return None

    def close(self) -> None:
        """Closes the connections."""
        self._app.close()
        self._redis.close()
