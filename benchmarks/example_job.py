"""The first minutes of a stranger: start, example, second start. Run: python -m benchmarks.example_job

Starts `bitfront up` in a folder of its own, runs the example's job, stops, and starts again over the same data.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.figures import Figure, show

PAGE_GOAL_S, JOB_GOAL_S, LEAST_ON_FRONT = 10.0, 90.0, 5
STATE_LIMIT_S = 600.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(data: Path) -> Iterator[tuple[str, float]]:
    """The address of a running installation, and the seconds until its page answered."""
    port = free_port()
    environment = {**os.environ, "BITFRONT_DATA_DIR": str(data), "BITFRONT_PORT": str(port)}
    begin = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "bitfront", "up"], env=environment, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_page(address)
        yield address, time.monotonic() - begin
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def wait_for_page(address: str) -> None:
    """Returns when the list of jobs is served."""
    while True:
        try:
            if httpx.get(f"{address}/ui/").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)


def run_example(address: str) -> dict[str, object]:
    """The finished job of the example."""
    job: dict[str, object] = httpx.post(f"{address}/example").raise_for_status().json()
    deadline = time.monotonic() + STATE_LIMIT_S
    while job["state"] not in ("succeeded", "failed", "cancelled") and time.monotonic() < deadline:
        time.sleep(0.25)
        job = httpx.get(f"{address}/jobs/{job['id']}").json()
    return job


def figures() -> list[Figure]:
    """All figures of one run."""
    with tempfile.TemporaryDirectory(prefix="bitfront-benchmark-") as folder:
        Path(folder).chmod(0o711)
        data = Path(folder) / "data"
        with started(data) as (address, first_s):
            job = run_example(address)
            candidates = httpx.get(f"{address}/jobs/{job['id']}/candidates").json()["items"]
        with started(data) as (address, second_s):
            kept = httpx.get(f"{address}/jobs/{job['id']}").json()["state"] == job["state"]
    seconds = float(str(job["elapsed_s"]))
    fronts = {json.dumps(each["policy"]["layers"], sort_keys=True) for each in candidates if each["on_front"]}
    return [
        Figure("page after the first start", f"{first_s:.1f} s", f"under {PAGE_GOAL_S:.0f} s", first_s < PAGE_GOAL_S),
        Figure("page after the second start, data found", f"{second_s:.1f} s", f"under {PAGE_GOAL_S:.0f} s",
               kept and second_s < PAGE_GOAL_S),
        Figure("example job, 8 points and 6 baselines", f"{seconds:.1f} s, {job['state']}",
               f"under {JOB_GOAL_S:.0f} s", job["state"] == "succeeded" and seconds < JOB_GOAL_S),
        Figure("different bit maps on its front", str(len(fronts)), f"at least {LEAST_ON_FRONT}",
               len(fronts) >= LEAST_ON_FRONT),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(show("A stranger's first minutes", figures()))
