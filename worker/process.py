"""The parent's side of a child process: starting it without credentials, talking to it, ending it with its own."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel

from worker import protocol
from worker.tether import tethered

RUNNER = "core.jobs.stages.run:run_task"
SOURCES = Path(__file__).resolve().parent.parent
LOG_LINES = 400
LOG_LINE_LENGTH = 500
POLL_S = 0.25
KEPT_VARIABLES = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH"})
KEPT_PREFIXES = ("LC_", "CUDA_", "NVIDIA_")


def child_environment(threads: int, home: Path, extra_path: Sequence[Path] = ()) -> dict[str, str]:
    """What a child may know: how to find programs and the accelerator. No address, no token, nothing of Bitfront's."""
    kept = {
        name: value for name, value in os.environ.items() if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    count = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    python_path = os.pathsep.join(str(path) for path in (SOURCES, *extra_path))
    return kept | count | {
        "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1",
        "HOME": str(home), "TMPDIR": str(home),
    }  # fmt: skip


class Child:
    """One child process, its connection, and the last lines it printed.

    It ends when the thread that started it does, so start it from a thread that lives as long as the worker.
    """

    def __init__(self, directory: Path, *, threads: int, runner: str = RUNNER, extra_path: Sequence[Path] = ()) -> None:
        self.directory = directory / uuid4().hex
        self.directory.mkdir(parents=True)
        self.ready = False
        self.accelerators = 0
        self.idle_since = time.monotonic()
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._ending = threading.Lock()
        self._sending = threading.Lock()
        self.connection, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            self.process = subprocess.Popen(
                tethered(
                    [sys.executable, "-m", "worker.child", str(descriptor), runner],
                    when_parent_ends=signal.SIGKILL,
                ),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.directory,
                env=child_environment(threads, self.directory, extra_path), pass_fds=(descriptor,),
                start_new_session=True,
            )  # fmt: skip
        self._printed = threading.Thread(target=self._read_output, daemon=True)
        self._printed.start()

    @property
    def alive(self) -> bool:
        """Whether the process has not ended. One that has is not reaped here, so that its id stays its own."""
        if self.process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def send(self, record: BaseModel) -> None:
        """Sends a record; one to a child that has ended is lost, which its reader will notice."""
        with self._sending, contextlib.suppress(OSError):
            protocol.send(self.connection, record)

    def records(self, pause_s: float = POLL_S) -> Iterator[BaseModel | None]:
        """Records as they come, and None whenever nothing came for a while; ends when the child has."""
        while True:
            try:
                readable, _, _ = select.select([self.connection], [], [], pause_s)
            except (OSError, ValueError):  # closed by `end` in another thread
                return
            if readable:
                record = protocol.receive(self.connection)
                if record is None:
                    return
                yield protocol.checked(record)
            elif not self.alive:
                return
            else:
                yield None

    def take_lines(self) -> list[str]:
        """What the child printed since the last call, the newest lines only."""
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        return lines

    def _read_output(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - we asked for a pipe
        with self.process.stdout as output:
            while line := output.readline(64 * 1024):
                if text := line.decode(errors="replace").rstrip()[:LOG_LINE_LENGTH]:
                    self._lines.append(text)

    def end(self, grace_s: float) -> int:
        """Ends the child and everything in its process group: terminate, then kill. Returns its exit status."""
        with self._ending:
            if self.process.returncode is None:
                self._terminate(grace_s)
                self._signal(signal.SIGKILL)
            return self.process.wait()

    def _terminate(self, grace_s: float) -> None:
        deadline = time.monotonic() + grace_s
        if grace_s > 0 and self.alive:
            self._signal(signal.SIGTERM)
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def retire(self, grace_s: float = 0) -> int:
        """Ends the child and removes its files. Returns its exit status."""
        status = self.end(grace_s)
        self.connection.close()
        self._printed.join(1)
        shutil.rmtree(self.directory, ignore_errors=True)
        return status
