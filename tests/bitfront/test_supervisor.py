"""`bitfront up` with stand-ins for the pages and the worker; the real ones are started by the end-to-end tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import open_directory, processes_in, wait_until_gone

from bitfront.servers import EmbeddedPostgres
from bitfront.supervisor import run_everything
from core.errors import ConfigurationError
from core.settings import Settings
from migrations.upgrade import upgrade

API = """
import http.server, os
class Alive(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
print(os.environ["BITFRONT_DATABASE_URL"], os.environ["BITFRONT_REDIS_URL"], flush=True)
http.server.HTTPServer((os.environ["BITFRONT_HOST"], int(os.environ["BITFRONT_PORT"])), Alive).serve_forever()
"""
WORKER = """
import os, pathlib, time
pathlib.Path(os.environ["BITFRONT_DATA_DIR"], f"worker-{os.getpid()}").touch()
print("working", flush=True)
time.sleep(600)
"""
SUPERVISE = """
import sys
from bitfront.supervisor import run_everything
from core.errors import BitfrontError
from core.settings import Settings
api, worker = ([sys.executable, "-c", code, sys.argv[3]] for code in sys.argv[1:3])
try:
    run_everything(Settings(), api=api, worker=worker)
except BitfrontError as error:
    sys.exit(f"{error.code}: {error.message} ({error.hint})")
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """Postgres' files as a first start leaves them."""
    with open_directory() as folder:
        postgres = EmbeddedPostgres(folder, durable=False)
        try:
            postgres.start()
            upgrade(postgres.url())
        finally:
            postgres.stop()
        yield postgres.files


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with open_directory() as folder:
        yield folder


@pytest.fixture
def used_data_dir(data_dir: Path, cluster: Path) -> Path:
    """A data directory that is not started for the first time, which takes longer."""
    subprocess.run(["cp", "-a", cluster, data_dir], check=True)
    return data_dir


@pytest.fixture
def start(data_dir: Path) -> Iterator[Start]:
    """Starts a supervisor; every process it starts names the data directory on its command line."""
    started = []

    def begin(api: str = API, worker: str = WORKER, **settings: str) -> "subprocess.Popen[str]":
        environment = {
            **os.environ, "BITFRONT_DATA_DIR": str(data_dir), "BITFRONT_PORT": "0", "BITFRONT_CANCEL_GRACE_S": "1",
            **settings,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, api, worker, str(data_dir)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    wait_until_gone(data_dir)


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it never said {words!r} but: {said}")


def worker_pids(data_dir: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in data_dir.glob("worker-*")]


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_everything_starts_and_whatever_ends_it_leaves_no_process(
    data_dir: Path, start: Start, stop: signal.Signals
) -> None:
    process = start()
    said = read_until(process, "http://127.0.0.1:")
    assert "is ready" in said
    wait(lambda: worker_pids(data_dir))
    database_url, redis_url = (data_dir / "logs" / "api.log").read_text().split()
    assert database_url.startswith("postgresql+psycopg://")
    assert redis_url.startswith("unix://")
    process.send_signal(stop)
    status = process.wait(15)
    assert status == (-signal.SIGKILL if stop == signal.SIGKILL else 0)
    wait_until_gone(data_dir)


def test_a_worker_that_crashes_is_started_again_and_its_last_words_are_shown(used_data_dir: Path, start: Start) -> None:
    process = start()
    read_until(process, "is ready")
    wait(lambda: worker_pids(used_data_dir))
    os.kill(worker_pids(used_data_dir)[0], signal.SIGKILL)
    said = read_until(process, "    working")
    assert "the worker ended with status -9" in said
    wait(lambda: len(worker_pids(used_data_dir)) == 2)


def test_pages_that_do_not_start_are_an_error_with_their_last_words(used_data_dir: Path, start: Start) -> None:
    process = start(api="raise SystemExit('no such setting')")
    said = read_until(process, "unavailable: the pages do not start")
    assert "no such setting" in said
    assert process.wait(15) == 1
    wait_until_gone(used_data_dir)


def test_two_cannot_use_one_data_directory(used_data_dir: Path, start: Start) -> None:
    read_until(start(), "is ready")
    second = start()
    assert "another Bitfront runs in" in read_until(second, "configuration:")
    assert second.wait(10) == 1


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=str(port)) as caught:
            run_everything(Settings(data_dir=tmp_path, port=port))
    assert "BITFRONT_PORT" in caught.value.hint


def test_servers_that_are_configured_are_used_and_not_started(
    data_dir: Path, start: Start, database_url: str, redis_url: str
) -> None:
    process = start(BITFRONT_DATABASE_URL=database_url, BITFRONT_REDIS_URL=redis_url)
    read_until(process, "is ready")
    assert (data_dir / "logs" / "api.log").read_text().split() == [database_url, redis_url]
    assert not (data_dir / "postgres").exists()
    assert not any("redis-server" in line for line in processes_in(data_dir))
