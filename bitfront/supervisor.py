"""`bitfront up`: servers, migration, pages and a worker, kept running until Ctrl-C, with no process left afterwards.

Every process is tied to this one (`worker.tether`), so that even a killed supervisor leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bitfront.servers import EmbeddedPostgres, EmbeddedRedis, EmbeddedServer, open_log
from core.errors import ConfigurationError, Unavailable
from core.settings import Settings
from migrations.upgrade import upgrade
from worker.tether import tethered

START_S = 60.0
WATCH_S = 0.2
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0
QUOTED_LINES = 15

API: Sequence[str] = (sys.executable, "-m", "api")
WORKER: Sequence[str] = (sys.executable, "-m", "worker")


class Service:
    """A process that should always run. One that ends is started again, with growing pauses if it keeps ending."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], settings: Settings) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._data_dir = settings.data_dir
        self._stop_s = settings.cancel_grace_s + 5
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._again_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self.ends = 0

    def start(self) -> None:
        """Starts the process; what it prints goes to its log."""
        with open_log(self._data_dir, self.name) as log:
            self._process = subprocess.Popen(
                tethered(self._command), env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._started_at = time.monotonic()

    def watch(self) -> None:
        """Notices an end, says so with the log's last lines, and starts anew when the pause is over."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._note_end(status)
        elif time.monotonic() >= self._again_at:
            self.start()

    def _note_end(self, status: int) -> None:
        self._process = None
        self.ends += 1
        if time.monotonic() - self._started_at > HEALTHY_S:
            self._pause_s = FIRST_PAUSE_S
        self._again_at = time.monotonic() + self._pause_s
        _say(f"the {self.name} ended with status {status}; starting it again in {self._pause_s:g} s. It last said:")
        _say(_indented(self.last_lines()))
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def last_lines(self) -> str:
        """The end of the log."""
        with (self._data_dir / "logs" / f"{self.name}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-QUOTED_LINES:])

    def ask_to_stop(self) -> None:
        """Sends SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Waits for the end, and kills the process with its group when it takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def run_everything(settings: Settings, *, api: Sequence[str] = API, worker: Sequence[str] = WORKER) -> None:
    """Runs until SIGINT or SIGTERM. Raises ConfigurationError or Unavailable where it cannot start."""
    stopping = threading.Event()
    with _signals(stopping), ExitStack() as stack:
        settings = stack.enter_context(_sole_user(settings))
        settings = _with_port(settings)
        settings, servers = stack.enter_context(_servers(settings))
        upgrade(settings.database_url or "")
        environment = _environment(settings)
        services = [
            Service("api", api, environment, settings), Service("worker", worker, environment, settings)
        ]  # fmt: skip
        stack.callback(_stop_all, services)
        services[0].start()
        _announce_when_ready(settings, services[0], stopping)  # the page first: a worker's start is heavier
        services[1].start()
        while not stopping.wait(WATCH_S):
            for server in servers:
                server.keep_running()
            for service in services:
                service.watch()


def _stop_all(services: Sequence[Service]) -> None:
    _say("stopping")
    for service in services:
        service.ask_to_stop()
    for service in services:
        service.stop()


@contextmanager
def _signals(stopping: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set the event, and are as before afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stopping.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _sole_user(settings: Settings) -> Iterator[Settings]:
    """The settings with an absolute data directory, which only one supervisor uses at a time."""
    data_dir = settings.data_dir.expanduser().resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"another Bitfront runs in {data_dir}", hint="stop it, or set BITFRONT_DATA_DIR to another directory"
            ) from error
        yield settings.model_copy(update={"data_dir": data_dir})


def _with_port(settings: Settings) -> Settings:
    """The settings with a port that is free; 0 asks for any."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigurationError(
                f"{settings.host}:{settings.port} cannot be listened on: {error.strerror}",
                hint="set BITFRONT_PORT to another port",
            ) from error
        return settings.model_copy(update={"port": probe.getsockname()[1]})


@contextmanager
def _servers(settings: Settings) -> Iterator[tuple[Settings, Sequence[EmbeddedServer]]]:
    """The settings with addresses of servers that run: those that are named, or our own, which are given too."""
    with ExitStack() as stack:
        addresses: dict[str, str] = {}
        servers: list[EmbeddedServer] = []
        if settings.database_url is None:
            postgres = EmbeddedPostgres(settings.data_dir)
            stack.callback(postgres.stop)
            postgres.start()
            servers.append(postgres)
            addresses["database_url"] = postgres.url()
        if settings.redis_url is None:
            queue = EmbeddedRedis(settings.data_dir)
            stack.callback(queue.stop)
            queue.start()
            servers.append(queue)
            addresses["redis_url"] = queue.url
        yield settings.model_copy(update=addresses), servers


def _environment(settings: Settings) -> dict[str, str]:
    """What the services need to know, on top of what this process was given."""
    decided = {
        "BITFRONT_DATA_DIR": str(settings.data_dir),
        "BITFRONT_HOST": settings.host,
        "BITFRONT_PORT": str(settings.port),
        "BITFRONT_DATABASE_URL": settings.database_url or "",
        "BITFRONT_REDIS_URL": settings.redis_url or "",
        "PYTHONUNBUFFERED": "1",
    }
    root = str(Path(__file__).resolve().parent.parent)
    python_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, **decided, "PYTHONPATH": python_path}


def _announce_when_ready(settings: Settings, api: Service, stopping: threading.Event) -> None:
    """Prints the address as soon as the pages answer."""
    deadline = time.monotonic() + START_S
    while not _answers(settings):
        api.watch()
        if api.ends > 2 or time.monotonic() > deadline:
            raise Unavailable(
                "the pages do not start", hint=f"see {settings.data_dir / 'logs' / 'api.log'}:\n{api.last_lines()}"
            )
        if stopping.wait(0.05):
            return
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    _say(f"Bitfront is ready: http://{host}:{settings.port}\n(data and logs in {settings.data_dir}; Ctrl-C stops it)")


def _answers(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(host, settings.port, timeout=2)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _say(text: str) -> None:
    print(text, flush=True)
