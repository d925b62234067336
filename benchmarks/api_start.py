"""The API process: seconds to its first answer, memory, and no torch. Run: python -m benchmarks.api_start"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.figures import Figure, show
from bitfront.servers import embedded_servers
from migrations.upgrade import upgrade

STARTS = 3
SETTLE_S = 2.0


@dataclass(frozen=True)
class ApiProcess:
    """A running `python -m api`."""

    pid: int
    address: str
    start_s: float

    def memory_bytes(self, field: str = "VmRSS") -> int:
        """Resident memory now, or its peak (`VmHWM`)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))

    def has_torch(self) -> bool:
        """Whether a library of torch is mapped into the process."""
        return "libtorch" in Path(f"/proc/{self.pid}/maps").read_text()


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Environment of an API process with servers of its own, migrated."""
    with tempfile.TemporaryDirectory(prefix="bitfront-benchmark-") as folder:
        Path(folder).chmod(0o711)  # as root, Postgres runs as another user
        with embedded_servers(Path(folder), durable=False) as addresses:
            upgrade(addresses.database_url)
            settings = {
                "DATA_DIR": folder,
                "DATABASE_URL": addresses.database_url,
                "REDIS_URL": addresses.redis_url,
                "LOG_LEVEL": "warning",
            }
            yield {**os.environ, **{f"BITFRONT_{name}": value for name, value in settings.items()}}


@contextmanager
def api_process(variables: dict[str, str]) -> Iterator[ApiProcess]:
    """`python -m api` on a free port, from before its start until after its end."""
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "api"], env={**variables, "BITFRONT_PORT": str(port)})
    try:
        _wait_for(address, process)
        yield ApiProcess(process.pid, address, time.perf_counter() - started)
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            httpx.get(f"{address}/health/live").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.005)
        else:
            return
    raise RuntimeError(f"the API ended with status {process.returncode}")


def use(api: ApiProcess) -> None:
    """Some requests of each kind, and a task announced, so that everything that is loaded late is there."""
    for path in ("/jobs", "/models", "/datasets", "/targets", "/methods", "/openapi.json", "/ui/"):
        httpx.get(api.address + path).raise_for_status()
    job = httpx.post(f"{api.address}/example").raise_for_status().json()
    for path in ("", "/candidates", "/report", "/figures/front.json"):
        httpx.get(f"{api.address}/jobs/{job['id']}{path}").raise_for_status()
    time.sleep(SETTLE_S)


def main() -> int:
    """All figures."""
    with environment() as variables:
        seconds = []
        for _ in range(STARTS):
            with api_process(variables) as api:
                seconds.append(api.start_s)
                use(api)
                memory_bytes, has_torch = api.memory_bytes(), api.has_torch()
    return show(
        "API process",
        [
            Figure("first answer after", f"{min(seconds):.2f} s", "under 1.5 s", min(seconds) < 1.5),
            Figure("memory after use", f"{memory_bytes / 1e6:.0f} MB", "under 200 MB", memory_bytes < 200e6),
            Figure("torch is loaded", str(has_torch), "False", not has_torch),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
