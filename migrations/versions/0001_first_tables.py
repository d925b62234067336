"""Owners, uploads, jobs, tasks, their cache and events, candidates and artifacts; the local owner."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "owners", "models", "datasets", "dataset_files", "jobs", "tasks", "stage_results", "events", "candidates",
    "artifacts",
)  # fmt: skip
UPLOAD_STATES = "state IN ('inspecting', 'ready', 'rejected')"
TASK_STATES = "state IN ('waiting', 'queued', 'running', 'succeeded', 'failed', 'cancelled')"
CANDIDATE_STATES = "state IN ('proposed', 'evaluated', 'trained', 'exported', 'failed', 'cancelled')"


def upgrade() -> None:
    """Makes the tables and the owner that everything belongs to while there is one user."""
    _owners()
    _uploads()
    _jobs()
    _tasks()
    _stage_results()
    _events()
    _candidates()
    _artifacts()
    op.execute("INSERT INTO owners (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'local')")


def downgrade() -> None:
    """Drops the tables with all they hold."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _owners() -> None:
    op.create_table(
        "owners",
        _id(),
        _text("name"),
        _created(),
        sa.PrimaryKeyConstraint("id", name="pk_owners"),
        sa.UniqueConstraint("name", name="uq_owners_name"),
    )


def _uploads() -> None:
    op.create_table(
        "models",
        *_owned("models"),
        *_upload(),
        _text("filename"),
        _text("kind"),
        _text("architecture", nullable=True),
        *_stored_file(),
        _json("inventory"),
        sa.CheckConstraint(UPLOAD_STATES, name=op.f("ck_models_state")),
    )
    op.create_table(
        "datasets",
        *_owned("datasets"),
        *_upload(),
        _json("summary"),
        sa.CheckConstraint(UPLOAD_STATES, name=op.f("ck_datasets_state")),
    )
    op.create_table(
        "dataset_files",
        *_owned("dataset_files"),
        *_reference("dataset_files", "dataset_id", "datasets", "CASCADE"),
        _text("filename"),
        _text("split", nullable=True),
        *_stored_file(),
    )
    _index("models", "owner_id", "created_at", "id")
    _index("datasets", "owner_id", "created_at", "id")
    _index("dataset_files", "dataset_id")


def _jobs() -> None:
    op.create_table(
        "jobs",
        *_owned("jobs"),
        _text("name"),
        *_reference("jobs", "model_id", "models", "RESTRICT"),
        *_reference("jobs", "dataset_id", "datasets", "RESTRICT"),
        _json("specification", nullable=False),
        _flag("cancel_requested"),
        _time("finished_at"),
    )
    _index("jobs", "owner_id", "created_at", "id")
    _index("jobs", "model_id")
    _index("jobs", "dataset_id")


def _tasks() -> None:
    op.create_table(
        "tasks",
        *_owned("tasks"),
        *_reference("tasks", "job_id", "jobs", "CASCADE", nullable=True),
        *_reference("tasks", "model_id", "models", "CASCADE", nullable=True),
        *_reference("tasks", "dataset_id", "datasets", "CASCADE", nullable=True),
        _text("stage"),
        sa.Column("point", sa.BigInteger()),
        _count("position"),
        _flag("tolerant"),
        _text("input_key", nullable=True),
        sa.Column("depends_on", ARRAY(sa.UUID()), nullable=False, server_default=sa.text("'{}'")),
        _text("state", "waiting"),
        _count("attempt"),
        _time("lease_until"),
        _count("fencing_token"),
        _text("worker", nullable=True),
        sa.Column("progress", sa.Double(), nullable=False, server_default=sa.text("0")),
        _text("message", ""),
        _flag("reused"),
        _json("result"),
        _files(),
        _json("problem"),
        _time("started_at"),
        _time("finished_at"),
        _time("enqueued_at"),
        sa.CheckConstraint(TASK_STATES, name=op.f("ck_tasks_state")),
    )
    op.create_index(
        "ix_tasks_open", "tasks", ["state", "lease_until"], postgresql_where=sa.text("state IN ('queued', 'running')")
    )
    _index("tasks", "job_id", "position")
    _index("tasks", "model_id")
    _index("tasks", "dataset_id")


def _stage_results() -> None:
    op.create_table(
        "stage_results",
        *_reference("stage_results", "owner_id", "owners", "CASCADE"),
        _text("input_key"),
        _json("result", nullable=False),
        _files(),
        _created(),
        sa.PrimaryKeyConstraint("owner_id", "input_key", name="pk_stage_results"),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *_reference("events", "owner_id", "owners", "CASCADE"),
        *_reference("events", "job_id", "jobs", "CASCADE"),
        _text("kind"),
        _json("payload", nullable=False),
        _created(),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    _index("events", "job_id", "id")


def _candidates() -> None:
    op.create_table(
        "candidates",
        *_owned("candidates"),
        *_reference("candidates", "job_id", "jobs", "CASCADE"),
        sa.Column("point", sa.BigInteger()),
        _text("origin"),
        _text("name"),
        _json("policy", nullable=False),
        _json("costs", nullable=False),
        sa.Column("size_bytes", sa.Double()),
        sa.Column("bit_operations", sa.Double()),
        *(_json(name) for name in ("predicted", "measured", "history", "certificate", "parity")),
        sa.Column("on_front", sa.Boolean()),
        _text("state", "proposed"),
        _json("problem"),
        sa.UniqueConstraint("job_id", "name", name="uq_candidates_job_id_name"),
        sa.CheckConstraint(CANDIDATE_STATES, name=op.f("ck_candidates_state")),
    )
    _index("candidates", "job_id")


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        *_owned("artifacts"),
        *_reference("artifacts", "job_id", "jobs", "CASCADE"),
        *_reference("artifacts", "candidate_id", "candidates", "CASCADE", nullable=True),
        _text("kind"),
        _text("filename"),
        _text("media_type"),
        *_stored_file(),
    )
    for column in ("job_id", "candidate_id", "sha256"):
        _index("artifacts", column)


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.UUID(), nullable=False)


def _owned(table: str) -> tuple[Any, ...]:
    key = sa.PrimaryKeyConstraint("id", name=f"pk_{table}")
    return (_id(), *_reference(table, "owner_id", "owners", "CASCADE"), _created(), key)


def _reference(table: str, column: str, other: str, on_delete: str, *, nullable: bool = False) -> tuple[Any, ...]:
    name = f"fk_{table}_{column}_{other}"
    return (
        sa.Column(column, sa.UUID(), nullable=nullable),
        sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete=on_delete),
    )


def _upload() -> tuple[sa.Column[Any], ...]:
    return (_text("name"), _json("preprocessing"), _text("state", "inspecting"), _json("problem"))


def _text(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable, server_default=default)


def _json(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, JSONB(), nullable=nullable)


def _files() -> sa.Column[Any]:
    return sa.Column("files", JSONB(), nullable=False, server_default=sa.text("'[]'"))


def _flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.text("false"))


def _count(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True))


def _created() -> sa.Column[Any]:
    return sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def _stored_file() -> tuple[sa.Column[Any], ...]:
    return (_text("sha256"), sa.Column("size_bytes", sa.BigInteger(), nullable=False))


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
