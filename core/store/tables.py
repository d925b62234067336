"""The tables. Every row has an owner; states are text with a check, files are named by their SHA-256.

A job's state is not stored: it follows from its tasks (`core.store.job_state`). Times are the database's own.
"""

from __future__ import annotations

import os
import time
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

LOCAL_OWNER: Final = UUID("00000000-0000-0000-0000-000000000001")

UPLOAD_STATES: Final = ("inspecting", "ready", "rejected")
TASK_STATES: Final = ("waiting", "queued", "running", "succeeded", "failed", "cancelled")
CANDIDATE_STATES: Final = ("proposed", "evaluated", "trained", "exported", "failed", "cancelled")

Json = dict[str, Any]
Day = date  # a table may call its column `date`


def new_id() -> UUID:
    """A UUID of version 7 (RFC 9562): milliseconds since the epoch, then 74 random bits, so ids sort by age."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF000 << 64) | 0x7 << 76
    return UUID(int=value & ~(0xC000 << 48) | 0x8000 << 48)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


class Base(DeclarativeBase):
    """Base of all tables, with names for constraints so that migrations can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - the name and form SQLAlchemy asks for
        str: Text,
        int: BigInteger,
        float: Double,
        UUID: PG_UUID(as_uuid=True),
        datetime: DateTime(timezone=True),
        Json: JSONB(none_as_null=True),
        list[Json]: JSONB(none_as_null=True),
        list[UUID]: ARRAY(PG_UUID(as_uuid=True)),
    }


class _Created:
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class _Owned(_Created):
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id", ondelete="CASCADE"))


class Owner(_Created, Base):
    """Whom rows belong to. At first there is one, `LOCAL_OWNER`, made by the first migration."""

    __tablename__ = "owners"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)


class Model(_Owned, Base):
    """An uploaded network. `inventory` is a `core.graph.inventory.Inventory`, once it is ready."""

    __tablename__ = "models"
    __table_args__ = (_one_of("state", UPLOAD_STATES), Index(None, "owner_id", "created_at", "id"))

    name: Mapped[str]
    filename: Mapped[str]
    kind: Mapped[str]  # onnx or safetensors
    architecture: Mapped[str | None]
    preprocessing: Mapped[Json | None]
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    state: Mapped[str] = mapped_column(server_default="inspecting")
    problem: Mapped[Json | None]
    inventory: Mapped[Json | None]


class Dataset(_Owned, Base):
    """An uploaded data set: one or more files. `summary` is what inspection found."""

    __tablename__ = "datasets"
    __table_args__ = (_one_of("state", UPLOAD_STATES), Index(None, "owner_id", "created_at", "id"))

    name: Mapped[str]
    preprocessing: Mapped[Json | None]
    state: Mapped[str] = mapped_column(server_default="inspecting")
    problem: Mapped[Json | None]
    summary: Mapped[Json | None]


class DatasetFile(_Owned, Base):
    """One file of a data set. `split` is train, select or report, or None where the file itself says."""

    __tablename__ = "dataset_files"

    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    filename: Mapped[str]
    split: Mapped[str | None]
    sha256: Mapped[str]
    size_bytes: Mapped[int]


class Job(_Owned, Base):
    """What was asked for; `dataset_id` is null without data. `finished_at` is set with the end of its last task."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "owner_id", "created_at", "id"),
        UniqueConstraint("owner_id", "idempotency_key"),
    )

    name: Mapped[str]
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id", ondelete="RESTRICT"), index=True)
    dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id", ondelete="RESTRICT"), index=True)
    specification: Mapped[Json]
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    finished_at: Mapped[datetime | None]
    idempotency_key: Mapped[str | None] = mapped_column(comment="of the request that made it")


class Task(_Owned, Base):
    """What a worker claims: a stage of a job, one point of it, or the inspection of an upload.

    `fencing_token` grows with every claim; a worker's writes carry the token it was given.
    `files` lists the outputs: name, path, kind, media_type, sha256, size_bytes.
    `settings` are those of a task that belongs to no job.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        _one_of("state", TASK_STATES),
        Index("ix_tasks_open", "state", "lease_until", postgresql_where=text("state IN ('queued', 'running')")),
        Index(None, "job_id", "position"),
    )

    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    model_id: Mapped[UUID | None] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    stage: Mapped[str]
    point: Mapped[int | None]
    position: Mapped[int] = mapped_column(server_default=text("0"))
    tolerant: Mapped[bool] = mapped_column(server_default=text("false"))
    input_key: Mapped[str | None]
    depends_on: Mapped[list[UUID]] = mapped_column(server_default=text("'{}'"))
    state: Mapped[str] = mapped_column(server_default="waiting")
    attempt: Mapped[int] = mapped_column(server_default=text("0"))  # attempts that were begun and counted
    lease_until: Mapped[datetime | None]
    fencing_token: Mapped[int] = mapped_column(server_default=text("0"))
    worker: Mapped[str | None]
    progress: Mapped[float] = mapped_column(server_default=text("0"))
    message: Mapped[str] = mapped_column(server_default="")
    reused: Mapped[bool] = mapped_column(server_default=text("false"))  # answered from an earlier result
    settings: Mapped[Json | None]
    result: Mapped[Json | None]
    files: Mapped[list[Json]] = mapped_column(server_default=text("'[]'"))
    problem: Mapped[Json | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    enqueued_at: Mapped[datetime | None]


class StageResult(_Created, Base):
    """Outputs by the key of their inputs, within one owner: what a second job need not compute again."""

    __tablename__ = "stage_results"

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id", ondelete="CASCADE"), primary_key=True)
    input_key: Mapped[str] = mapped_column(primary_key=True)
    result: Mapped[Json]
    files: Mapped[list[Json]] = mapped_column(server_default=text("'[]'"))


class Event(_Created, Base):
    """What happened in a job, in order: kind is state, task, metric, candidate or log."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "job_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id", ondelete="CASCADE"))
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str]
    payload: Mapped[Json]


class Candidate(_Owned, Base):
    """A policy of a job with its predicted and, once evaluated, its measured figures."""

    __tablename__ = "candidates"
    __table_args__ = (_one_of("state", CANDIDATE_STATES), UniqueConstraint("job_id", "name"))

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    point: Mapped[int | None]
    origin: Mapped[str]  # search, uniform, own or float
    name: Mapped[str]
    policy: Mapped[Json]
    costs: Mapped[Json]  # by target: latency_s, energy_j, provenance, bound_by
    size_bytes: Mapped[float | None]
    bit_operations: Mapped[float | None]
    predicted: Mapped[Json | None]
    measured: Mapped[Json | None]  # by state of the weights, then by split
    history: Mapped[list[Json] | None]
    certificate: Mapped[Json | None]
    parity: Mapped[Json | None]
    on_front: Mapped[bool | None]
    state: Mapped[str] = mapped_column(server_default="proposed")
    problem: Mapped[Json | None]


class OwnTarget(_Owned, Base):
    """Hardware that a person described or measured: `document` is a `core.hardware.target.Target`, `toml` its text.

    A job keeps the description it was made with, so that nothing refers to these rows.
    """

    __tablename__ = "targets"
    __table_args__ = (UniqueConstraint("owner_id", "slug"),)

    slug: Mapped[str]  # the target's own id, as jobs name it
    toml: Mapped[str]
    document: Mapped[Json]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Measurement(_Owned, Base):
    """What a person measured of a candidate on a device of their own; at least one of the three figures."""

    __tablename__ = "measurements"
    __table_args__ = (
        CheckConstraint("num_nonnulls(latency_s, energy_j, accuracy) > 0", name="figures"),
        Index(None, "candidate_id", "date", "id"),
    )

    candidate_id: Mapped[UUID] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"))
    target: Mapped[str]  # of the job: whose figures it stands beside
    device: Mapped[str]
    latency_s: Mapped[float | None]
    energy_j: Mapped[float | None]
    accuracy: Mapped[float | None]
    date: Mapped[Day]
    note: Mapped[str] = mapped_column(server_default="")


class Artifact(_Owned, Base):
    """A file that a person can download."""

    __tablename__ = "artifacts"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    candidate_id: Mapped[UUID | None] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    filename: Mapped[str]
    media_type: Mapped[str]
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(index=True)
