"""Directories for installations under test, and the processes that work in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
NEEDED_BYTES = 4 * 10**9


def _quick_place() -> Path | None:
    """Memory where there is plenty: a disk's pace must not decide about tests with deadlines. None: the usual place."""
    roomy = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > NEEDED_BYTES
    return IN_MEMORY if roomy and os.access(IN_MEMORY, os.W_OK) else None


@contextmanager
def open_directory() -> Iterator[Path]:
    """A temporary directory with a short path that anyone may traverse: as root, Postgres runs as another user."""
    with tempfile.TemporaryDirectory(prefix="bitfront-tests-", dir=_quick_place()) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def processes_in(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            if str(folder) in line and entry.name != str(os.getpid()):
                found.append(line)
    return found


def wait_until_gone(folder: Path) -> None:
    """Returns when no process names the folder any more."""
    deadline = time.monotonic() + 10
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_in(folder) == []


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return True
