"""A job's state follows from its tasks; here as an SQL expression, and as words that mean an end."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, case, func, literal, select

from core.store.tables import Job, Task

JOB_STATES: Final = ("queued", "running", "cancelling", "cancelled", "succeeded", "failed")
ENDED: Final = frozenset({"cancelled", "succeeded", "failed"})
OPEN_TASKS: Final = ("waiting", "queued", "running")


def job_state() -> ColumnElement[str]:
    """The state of the `jobs` row of the enclosing query.

    A point that fails does not fail the job; any other failed task does, once nothing is open any more.
    """
    is_open = func.bool_or(Task.state.in_(OPEN_TASKS))
    decided = case(
        (is_open & Job.cancel_requested, literal("cancelling")),
        (is_open & ~func.bool_or(~Task.state.in_(("waiting", "queued"))), literal("queued")),
        (is_open, literal("running")),
        (func.bool_or(Task.state == "cancelled"), literal("cancelled")),
        (func.bool_or((Task.state == "failed") & Task.point.is_(None)), literal("failed")),
        else_=literal("succeeded"),
    )
    return select(decided).where(Task.job_id == Job.id).correlate(Job).scalar_subquery()
