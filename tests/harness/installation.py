"""A whole Bitfront, started as a person starts it, and stopped with nothing left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from places import wait_until_gone

START_LIMIT_S = 120


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_installation(folder: Path, **settings: str) -> Iterator[str]:
    """The address of `bitfront up` over that data directory; after it, no process of it is left."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BITFRONT_")},
        "BITFRONT_DATA_DIR": str(folder),
        "BITFRONT_PORT": str(port),
        **{f"BITFRONT_{name.upper()}": value for name, value in settings.items()},
    }
    log = folder.with_name(folder.name + ".log")
    with log.open("w") as out:
        command = [sys.executable, "-m", "bitfront", "up"]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
        wait_until_gone(folder)


def wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Returns when servers and a worker answer."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not ready after {START_LIMIT_S} s: {log.read_text()}")
