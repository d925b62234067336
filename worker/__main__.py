"""`python -m worker`: one worker process until it is told to stop. With `--health`: whether a worker lives."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import warnings

from celery.platforms import SecurityWarning
from celery.signals import worker_shutting_down

from core.settings import Settings
from core.store.database import make_engine, make_sessions
from core.store.workers import worker_answers
from worker.delivery import register
from worker.doorbell import make_app
from worker.runtime import Worker

log = logging.getLogger("bitfront.worker")


def serve(worker: Worker) -> int:
    """Runs Celery on this thread until SIGTERM or SIGINT, then hands running tasks back. Returns an exit status."""
    warnings.simplefilter("ignore", SecurityWarning)  # of running as root: messages are JSON with an id, never pickles
    app = make_app(worker.settings.redis_url or "")
    register(app, worker.handle)

    def stop(**_: object) -> None:
        worker.stop()

    worker_shutting_down.connect(stop)
    threading.excepthook = _stop_on_broken_thread
    worker.start()
    celery = app.Worker(
        hostname=f"bitfront@{worker.name}", pool_cls="threads", concurrency=worker.settings.workers,
        without_heartbeat=True, without_mingle=True, without_gossip=True, quiet=True, loglevel=None,
    )  # fmt: skip
    try:
        celery.start()
    finally:
        worker.close()
    return int(celery.exitcode or 0)


def _stop_on_broken_thread(arguments: threading.ExceptHookArgs) -> None:
    """A worker without its heart or its sweeper must not go on: it hands its tasks back, and is started anew."""
    log.critical("thread %s broke", arguments.thread, exc_info=arguments.exc_value)
    os.kill(os.getpid(), signal.SIGTERM)


def health(settings: Settings) -> int:
    """Status 0 where a worker used the database within its last few sweeps, for the health check of a container."""
    sessions = make_sessions(make_engine(settings.database_url or ""))
    return 0 if worker_answers(sessions, 3 * settings.sweep_s + 5) else 1


def main() -> int:
    """Reads the settings and serves."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--health", action="store_true", help="say by the exit status whether a worker lives")
    settings = Settings()
    if parser.parse_args().health:
        return health(settings)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    return serve(Worker(settings))


if __name__ == "__main__":
    sys.exit(main())
