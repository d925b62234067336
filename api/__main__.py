"""`python -m api`: the pages and the REST service, on servers that already run and are migrated."""

from __future__ import annotations

import logging
import socket
import sys
from functools import partial

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from api.app import create_app
from api.enqueue import Announcer
from api.problems import listed_errors
from api.services import Example
from bitfront.example import (
    EXAMPLE_NAME,
    example_dataset_path,
    example_model_path,
    example_preprocessing,
    example_specification,
)
from core.errors import ConfigurationError
from core.settings import Settings
from core.store.artifacts import ArtifactStore
from core.store.database import make_engine, make_sessions
from core.store.workers import worker_answers

STOP_S = 5


class Server(uvicorn.Server):
    """Ends event streams first, so that stopping does not wait for browsers that follow a job."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once when a signal came."""
        self._app.state.services.stopping.set()
        await super().shutdown(sockets)


def build(settings: Settings) -> FastAPI:
    """The application that the settings describe."""
    if settings.database_url is None or settings.redis_url is None:
        raise ConfigurationError(
            "BITFRONT_DATABASE_URL and BITFRONT_REDIS_URL are not set",
            hint="`bitfront up` starts both servers itself; `python -m api` needs their addresses",
        )
    sessions = make_sessions(make_engine(settings.database_url, application_name="bitfront-api"))
    announcer = Announcer(settings.redis_url)
    app = create_app(
        settings,
        sessions,
        ArtifactStore.open(settings),
        announcer,
        example_files=shipped_example(),
        probes={
            "redis": announcer.answers,
            "worker": partial(worker_answers, sessions, 3 * settings.sweep_s + 5),
        },
    )
    announcer.warm()
    return app


def shipped_example() -> Example:
    """The example that comes with Bitfront."""
    return Example(
        EXAMPLE_NAME,
        example_model_path(),
        example_dataset_path(),
        example_preprocessing().model_dump(mode="json"),
        example_specification,
    )


def main() -> int:
    """Serve until a signal comes."""
    try:
        settings = Settings()
        app = build(settings)
    except ValidationError as error:  # its own text would show the values, the token among them
        sys.stderr.writelines(f"{fault['path']}: {fault['message']}\n" for fault in listed_errors(error.errors()))
        return 2
    except ConfigurationError as error:
        sys.stderr.write(f"{error.message}: {error.hint}\n")
        return 2
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
    )
    Server(config, app).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
