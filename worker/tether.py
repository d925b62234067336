"""Starts a command that ends when its parent does. Run as a script, before the command itself.

On Linux the kernel sends the chosen signal when the thread that started the process ends (prctl, PR_SET_PDEATHSIG);
so start from a thread that lives as long as the command should. Elsewhere nothing is tied. A script of its own,
because code between fork and exec is not safe in a process with threads, and because changing the user clears the tie.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1


def tethered(
    command: Sequence[str | Path], *, when_parent_ends: signal.Signals = signal.SIGTERM, user: str = ""
) -> list[str]:
    """The command line that runs `command` tied to this process, as `user` where one is named."""
    return [
        sys.executable, "-I", "-S", str(Path(__file__).resolve()),
        str(int(when_parent_ends)), str(os.getpid()), user, *map(str, command),
    ]  # fmt: skip


def _become(user: str) -> None:
    import pwd  # noqa: PLC0415 - not on every platform

    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def _tie(signal_number: int) -> None:
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only the script needs it

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def main(arguments: Sequence[str]) -> None:
    """Ties this process to its parent and becomes the command."""
    signal_number, parent, user, *command = arguments
    _tie(int(signal_number))
    if user:
        _become(user)
        _tie(int(signal_number))  # modules are loaded by now: the user may not be able to read them
    if os.getppid() != int(parent):
        sys.exit(1)  # the parent ended before the tie was made
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
