"""What follows for a job's waiting tasks when some have ended: a pure function, without a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from core.errors import DependencyFailed
from core.store.tables import Json

_ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class TaskState:
    """What deciding about a task needs to know."""

    id: UUID
    stage: str
    point: int | None
    state: str
    depends_on: Sequence[UUID]
    tolerant: bool = False
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Change:
    """The new state of a task that was waiting."""

    id: UUID
    state: Literal["queued", "failed", "cancelled"]
    problem: Json | None = None


def consequences(tasks: Iterable[TaskState], *, cancel_requested: bool = False) -> list[Change]:
    """What becomes of the waiting tasks.

    A task is queued once all it depends on have succeeded; it fails with the first dependency that failed, and is
    cancelled with one that was. A tolerant task waits until all have ended, and forgives points that failed.
    `tasks` are in the order of the plan, where a task stands after those it depends on.
    """
    known: dict[UUID, TaskState] = {}
    changes: list[Change] = []
    for task in tasks:
        change = None
        if task.state == "waiting":
            change = _decide(task, [known[needed] for needed in task.depends_on], cancel_requested)
        if change is None:
            known[task.id] = task
            continue
        changes.append(change)
        known[task.id] = TaskState(
            task.id, task.stage, task.point, change.state, task.depends_on, task.tolerant, change.problem
        )
    return changes


def _decide(task: TaskState, needed: Sequence[TaskState], cancel_requested: bool) -> Change | None:
    if cancel_requested:
        return Change(task.id, "cancelled")
    if task.tolerant:
        if any(other.state not in _ENDED for other in needed):
            return None
        needed = [other for other in needed if other.point is None]
    for other in needed:
        if other.state == "cancelled":
            return Change(task.id, "cancelled")
        if other.state == "failed":
            return Change(task.id, "failed", _because(other))
    if all(other.state == "succeeded" for other in needed):
        return Change(task.id, "queued")
    return None


def _because(other: TaskState) -> Json:
    """The problem of a task whose dependency failed; it passes on the cause, however far up it lies."""
    problem = dict(other.problem or {})
    facts = problem.get("facts", {})
    first = (
        facts if problem.get("code") == DependencyFailed.code else {"stage": other.stage, "code": problem.get("code")}
    )
    cause = first.get("cause") or problem.get("detail", "")
    return DependencyFailed(
        f"not run, because {first.get('stage')} failed: {cause}",
        hint=str(problem.get("hint", "")),
        stage=first.get("stage"),
        code=first.get("code"),
        cause=cause,
    ).as_problem()
