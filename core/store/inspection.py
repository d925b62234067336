"""What an inspection decides about an upload. One that a later inspection has overtaken decides nothing."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session, aliased

from core.store.tables import Dataset, Json, Model, Task

_Later = aliased(Task)


def accept_model(session: Session, task_id: UUID, inventory: Json) -> None:
    """The model that the task inspected is ready."""
    _write_model(session, task_id, state="ready", problem=None, inventory=inventory)


def accept_dataset(session: Session, task_id: UUID, summary: Json) -> None:
    """The data set that the task inspected is ready."""
    _write_dataset(session, task_id, state="ready", problem=None, summary=summary)


def reject_upload(session: Session, task_id: UUID, problem: Json) -> None:
    """What the task inspected cannot be used; nothing happens where it inspected no upload."""
    _write_model(session, task_id, state="rejected", problem=problem)
    _write_dataset(session, task_id, state="rejected", problem=problem)


def _write_model(session: Session, task_id: UUID, **values: Any) -> None:
    inspected = select(Task.model_id).where(Task.id == task_id, Task.stage == "inspect-model").scalar_subquery()
    later = (_Later.model_id == Model.id, _Later.stage == "inspect-model", _Later.id > task_id)
    overtaken = select(_Later.id).where(*later).exists()
    session.execute(update(Model).where(Model.id == inspected, ~overtaken).values(**values))


def _write_dataset(session: Session, task_id: UUID, **values: Any) -> None:
    inspected = select(Task.dataset_id).where(Task.id == task_id).scalar_subquery()
    overtaken = select(_Later.id).where(_Later.dataset_id == Dataset.id, _Later.id > task_id).exists()
    session.execute(update(Dataset).where(Dataset.id == inspected, ~overtaken).values(**values))
