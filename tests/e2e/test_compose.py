"""`docker compose up` cannot run on every machine; what it would start is checked here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SECRETS = {
    "BITFRONT_TOKEN": "t" * 24,
    "BITFRONT_POSTGRES_PASSWORD": "postgrespassword",
    "BITFRONT_REDIS_PASSWORD": "redispassword",
}


def compose() -> list[str]:
    if (
        shutil.which("docker")
        and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    ):
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("no docker compose client on this machine")


def config(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [*compose(), "-f", str(ROOT / "docker-compose.yml"), "config"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_the_client_accepts_the_file() -> None:
    done = config(**SECRETS)
    assert done.returncode == 0, done.stderr
    assert "nvidia" in done.stdout


@pytest.mark.parametrize("missing", sorted(SECRETS))
def test_no_password_has_a_default(missing: str) -> None:
    done = config(**{name: value for name, value in SECRETS.items() if name != missing})
    assert done.returncode != 0
    assert missing in done.stderr


def test_no_secret_stands_in_the_file() -> None:
    for name in SECRETS:
        assert re.findall(rf"\$\{{{name}[^}}]*\}}", TEXT), name
        assert not re.findall(rf"\$\{{{name}:-", TEXT), name


def test_its_steps_are_those_of_up() -> None:
    for step in ('["alembic", "upgrade", "head"]', '["python", "-m", "api"]', '["python", "-m", "worker"]'):
        assert step in TEXT
