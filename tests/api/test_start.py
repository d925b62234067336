"""The API process as it is started: light, without torch, honest about what it lacks, and quickly gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.api_start import ApiProcess, api_process, use
from core.settings import Settings

TOKEN = "short"


@pytest.fixture
def variables(settings: Settings) -> dict[str, str]:
    chosen = {"DATA_DIR": settings.data_dir, "DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    return {**os.environ, **{f"BITFRONT_{name}": str(value) for name, value in chosen.items()}}


@pytest.fixture
def api(variables: dict[str, str]) -> Iterator[ApiProcess]:
    with api_process(variables) as process:
        yield process


def test_no_torch_is_imported() -> None:
    program = "import api.__main__, worker.doorbell, sys; print([n for n in ('torch', 'onnx') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_process_stays_small_and_without_torch(api: ApiProcess) -> None:
    use(api)
    assert not api.has_torch()
    assert api.memory_bytes() < 200e6
    assert processor_s(api.pid) < 6  # start and all those requests


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_a_worker_it_is_alive_and_not_ready(api: ApiProcess) -> None:
    assert httpx.get(f"{api.address}/health/live").status_code == 200
    answer = httpx.get(f"{api.address}/health/ready")
    assert answer.status_code == 503
    assert answer.json()["facts"]["checks"] == {"database": True, "redis": True, "worker": False}


def test_a_signal_ends_it_though_a_page_follows_a_job(api: ApiProcess) -> None:
    job = httpx.post(f"{api.address}/example").json()
    with httpx.stream("GET", f"{api.address}/jobs/{job['id']}/events") as response:
        lines = response.iter_lines()
        next(lines)
        asked = time.monotonic()
        os.kill(api.pid, signal.SIGTERM)
        assert list(lines) is not None
    assert time.monotonic() - asked < 3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"BITFRONT_DATABASE_URL": None}, "BITFRONT_DATABASE_URL"),
        ({"BITFRONT_HOST": "0.0.0.0", "BITFRONT_TOKEN": TOKEN}, "BITFRONT_TOKEN"),
        ({"BITFRONT_PORT": "x"}, "port"),
    ],
)
def test_a_wrong_setting_is_named_and_no_secret_shown(
    variables: dict[str, str], changes: dict[str, str | None], named: str
) -> None:
    environment = {name: value for name, value in {**variables, **changes}.items() if value is not None}
    ended = subprocess.run(
        [sys.executable, "-m", "api"], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert named in ended.stderr
    assert TOKEN not in ended.stderr
    assert "Traceback" not in ended.stderr
