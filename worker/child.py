"""The process that runs the engine. It knows no database, no queue and no secret: tasks come and answers go as records.

Started by `worker.process`, it imports the engine first and reads nothing, so that a spare child can serve any owner.
The tasks of one job follow one another in one child; then the parent lets it end.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import importlib
import math
import os
import queue
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from core.errors import BitfrontError, DiskFull, OutOfMemory, TaskFailed
from core.jobs.task import Reporter, TaskInput, TaskOutput
from worker import protocol

PROGRESS_EVERY_S = 0.2
Runner = Callable[[TaskInput, Reporter], TaskOutput]


class StopRequested(BaseException):
    """Raised at a checkpoint when the parent wants its task back. Not an Exception: no stage may swallow it."""


class ChannelReporter:
    """Reports of one task, sent to the parent. Progress is thinned out; the parent would drop it anyway."""

    def __init__(self, connection: socket.socket, task_id: str, stop: threading.Event) -> None:
        self._connection = connection
        self._task_id = task_id
        self._stop = stop
        self._last_progress = -math.inf

    def progress(self, fraction: float, message: str = "") -> None:
        """Share of the task that is done, 0 to 1."""
        now = time.monotonic()
        if now - self._last_progress < PROGRESS_EVERY_S and fraction < 1:
            return
        self._last_progress = now
        fraction = min(1.0, max(0.0, fraction)) if math.isfinite(fraction) else 0.0
        protocol.send(
            self._connection, protocol.Progress(task_id=self._task_id, fraction=fraction, message=message[:500])
        )

    def metric(self, name: str, value: float, step: int) -> None:
        """One figure of a curve."""
        finite = float(value) if math.isfinite(value) else None
        protocol.send(
            self._connection, protocol.Metric(task_id=self._task_id, name=name[:100], value=finite, step=step)
        )

    def checkpoint(self, name: str) -> None:
        """A checkpoint was written; here a task stops when it is asked to."""
        protocol.send(self._connection, protocol.Checkpoint(task_id=self._task_id, name=name[:200]))
        if self._stop.is_set():
            raise StopRequested


def problem_from(error: BaseException) -> BitfrontError:
    """The error of the tree that says what ended a task."""
    if isinstance(error, BitfrontError):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in text:
        hint = "use a smaller batch size, fewer calibration samples, or a machine with more memory"
        return OutOfMemory(f"not enough memory: {text or type(error).__name__}"[:2000], hint=hint)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the disk is full", hint="free some space and start the job again")
    last = traceback.format_exception_only(error)[-1].strip()
    return TaskFailed(f"an unexpected error: {last}"[:2000], hint="the log of the job shows where it happened")


class _Answering(contextlib.AbstractContextManager["_Answering"]):
    """Whatever ends the task inside becomes a record; nothing is swallowed unseen."""

    def __init__(self, connection: socket.socket, task_id: str) -> None:
        self._connection = connection
        self._task_id = task_id

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None:
            return True
        if isinstance(error, SystemExit | KeyboardInterrupt):
            return False
        if isinstance(error, StopRequested):
            protocol.send(self._connection, protocol.Stopped(task_id=self._task_id))
            return True
        if not isinstance(error, BitfrontError):
            traceback.print_exception(error)
        problem = problem_from(error).as_problem()
        problem |= {
            "title": problem["title"][:500],
            "detail": problem["detail"][:20_000],
            "hint": problem["hint"][:5000],
        }
        body = protocol.Problem.Body.model_validate(problem)
        protocol.send(self._connection, protocol.Problem(task_id=self._task_id, problem=body))
        return True


def _serve(connection: socket.socket, runner: Runner) -> None:
    tasks: queue.Queue[TaskInput] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(connection, tasks, stop), daemon=True).start()
    protocol.send(connection, protocol.Ready(accelerators=_accelerators()))
    while True:
        task = tasks.get()
        with _Answering(connection, task.task_id):
            if stop.is_set():
                raise StopRequested
            output = runner(task, ChannelReporter(connection, task.task_id, stop))
            protocol.send(connection, protocol.Result(task_id=task.task_id, output=output))


def _listen(connection: socket.socket, tasks: queue.Queue[TaskInput], stop: threading.Event) -> None:
    for record in _records(connection):
        match record:
            case protocol.RunTask():
                tasks.put(record.task)
            case protocol.StopTask():
                stop.set()
    os._exit(0)  # the parent has let go: whatever still runs is no longer wanted


def _records(connection: socket.socket) -> Iterator[protocol.RunTask | protocol.StopTask]:
    while (record := protocol.receive(connection)) is not None:
        yield protocol.TO_CHILD.validate_python(record)


def _accelerators() -> int:
    torch = sys.modules.get("torch")
    return int(torch.cuda.device_count()) if torch is not None else 0


def _offer_to_the_memory_killer() -> None:
    """When memory runs out, this process should go before any server does."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


def main(descriptor: str, runner_path: str) -> None:
    """Serves tasks from the socket `descriptor` with the function at `runner_path` (module:function)."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _offer_to_the_memory_killer()
    module, _, name = runner_path.partition(":")
    runner: Runner = getattr(importlib.import_module(module), name)
    with socket.socket(fileno=int(descriptor)) as connection:
        _serve(connection, runner)


if __name__ == "__main__":
    main(*sys.argv[1:])
