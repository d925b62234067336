"""A job in the terminal: the same plan and the same stages as the service, without a server.

Tasks run in processes of their own, as many at once as asked for; each output lies in a directory named after its task.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from core.errors import BitfrontError
from core.jobs.plan import PlannedTask, plan, upstream_name
from core.jobs.specification import JobSpecification
from core.jobs.task import RESULT_FILE, DatasetInput, ModelInput, TaskInput

_Progress = tuple[int, float, str]
OnProgress = Callable[[PlannedTask, float, str], None]
_queue: SimpleQueue[_Progress] | None = None


class _QueueReporter:
    """Reports through the pool's queue."""

    def __init__(self, position: int) -> None:
        self.position = position

    def progress(self, fraction: float, message: str = "") -> None:
        if _queue is not None:
            _queue.put((self.position, fraction, message))

    def metric(self, name: str, value: float, step: int) -> None:
        """Curves are read from the results."""

    def checkpoint(self, name: str) -> None:
        """Checkpoints are not announced in a terminal."""


def _open_queue(queue: SimpleQueue[_Progress]) -> None:
    global _queue  # noqa: PLW0603 - the one value that a process of the pool is born with
    _queue = queue
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # HiGHS prints there, across the progress bars


def _run(position: int, task: TaskInput) -> None:
    from core.jobs.stages.run import run_task  # noqa: PLC0415 - torch is imported in the pool's processes only

    run_task(task, _QueueReporter(position))


class LocalRun:
    """One job on this machine. `failures` maps a failed point's task to the reason."""

    def __init__(
        self,
        specification: JobSpecification,
        model: ModelInput,
        dataset: DatasetInput | None,
        directory: Path,
        device: str = "cpu",
    ) -> None:
        self.specification = specification
        self.model = model
        self.dataset = dataset
        self.device = device
        self.tasks = plan(specification)
        self.directories = [directory / _name(position, task) for position, task in enumerate(self.tasks)]
        self.failures: dict[int, str] = {}
        self._ended: set[int] = set()

    def run(self, processes: int, on_progress: OnProgress) -> None:
        """Runs every task. Raises the error of the first task that is not a point's; a failed point is noted."""
        context = multiprocessing.get_context("spawn")
        queue: SimpleQueue[_Progress] = context.SimpleQueue()
        with ProcessPoolExecutor(processes, context, _open_queue, (queue,)) as pool:
            running: dict[Future[None], int] = {}
            waiting = list(range(len(self.tasks)))
            try:
                while waiting or running:
                    ready = [position for position in waiting if self._is_ready(position)]
                    for position in ready:
                        waiting.remove(position)
                        running[pool.submit(_run, position, self._task_input(position))] = position
                    finished, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                    while not queue.empty():
                        position, fraction, message = queue.get()
                        on_progress(self.tasks[position], fraction, message)
                    for future in finished:
                        position = running.pop(future)
                        self._end(position, future)
                        on_progress(self.tasks[position], 1.0, self.failures.get(position, ""))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def result(self, stage: str, point: int | None = None) -> dict[str, Any] | None:
        """The JSON result of a task; None where it failed or was not planned."""
        directory = self.directory(stage, point)
        if directory is None or not (directory / RESULT_FILE).exists():
            return None
        result: dict[str, Any] = json.loads((directory / RESULT_FILE).read_text(encoding="utf-8"))
        return result

    def directory(self, stage: str, point: int | None = None) -> Path | None:
        """Where a task's files are; None where it was not planned."""
        for task, directory in zip(self.tasks, self.directories, strict=True):
            if (task.stage, task.point) == (stage, point):
                return directory
        return None

    def _is_ready(self, position: int) -> bool:
        return all(dependency in self._ended for dependency in self.tasks[position].depends_on)

    def _end(self, position: int, future: Future[None]) -> None:
        self._ended.add(position)
        error = future.exception()
        if error is None:
            return
        if self.tasks[position].point is None or not isinstance(error, BitfrontError):
            raise error
        self.failures[position] = str(error)

    def _task_input(self, position: int) -> TaskInput:
        task = self.tasks[position]
        upstream = {
            upstream_name(self.tasks[i].stage, self.tasks[i].point, task.point): self.directories[i]
            for i in task.depends_on
            if i not in self.failures
        }
        directory = self.directories[position]
        return TaskInput(
            task_id=directory.name,
            stage=task.stage,
            point=task.point,
            specification=self.specification.model_dump(mode="json"),
            model=self.model,
            dataset=self.dataset,
            upstream=upstream,
            directory=directory,
            checkpoint_directory=directory / "checkpoints",
            device=self.device,
        )


def _name(position: int, task: PlannedTask) -> str:
    return f"{position:03d}-{task.stage}" + ("" if task.point is None else f"-{task.point}")
