"""The services of docker-compose.yml, started natively: migration, API, worker, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from installation import free_port, wait_until_ready

from bitfront.servers import EmbeddedPostgres, EmbeddedRedis

TOKEN = "a-token-of-enough-letters"
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def service(module: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module], env=environment, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()


@pytest.fixture
def environment(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path: Path) -> dict[str, str]:
    postgres.create_database("services")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("BITFRONT_")},
        "BITFRONT_DATABASE_URL": postgres.url("services").replace("postgresql+psycopg://", "postgresql://"),
        "BITFRONT_REDIS_URL": redis_server.url,
        "BITFRONT_DATA_DIR": str(tmp_path / "data"),
        "BITFRONT_PORT": str(free_port()),
        "BITFRONT_TOKEN": TOKEN,
    }


def test_the_steps_of_compose_serve_a_job(environment: dict[str, str], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], env=environment, cwd=ROOT, check=True)
    address = f"http://127.0.0.1:{environment['BITFRONT_PORT']}"
    client = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=300)
    with (
        client,
        service("api", environment, tmp_path / "api.log") as api,
        service("worker", environment, tmp_path / "worker.log"),
    ):
        wait_until_ready(api, address, tmp_path / "api.log")
        assert httpx.get(f"{address}/jobs").status_code == 401
        example = client.post("/example").raise_for_status().json()
        client.post(f"/jobs/{example['id']}/cancel").raise_for_status()
        for kind in ("model", "dataset"):
            while client.get(f"/{kind}s/{example[kind]['id']}").json()["state"] == "inspecting":
                time.sleep(0.1)
        small = {**example["specification"], "training": None, "search": {"points": 1}}
        job = client.post("/jobs", json=small).raise_for_status().json()
        with client.stream("GET", f"/jobs/{job['id']}/events") as events:
            for _ in events.iter_lines():
                pass  # the stream ends with the job
        assert client.get(f"/jobs/{job['id']}").json()["state"] == "succeeded"
        assert worker_health(environment) == 0
        client.close()  # so that the API has no connection to wait for
    assert worker_health(environment) != 0


def worker_health(environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "worker", "--health"]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
