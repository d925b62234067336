"""What people measured of a candidate on devices of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the table; a measurement goes with its candidate."""
    op.create_table(
        "measurements",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("owner_id", sa.UUID(), nullable=False),
        sa.Column("candidate_id", sa.UUID(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in ("latency_s", "energy_j", "accuracy")),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_measurements"),
        _reference("owner_id", "owners"),
        _reference("candidate_id", "candidates"),
        sa.CheckConstraint("num_nonnulls(latency_s, energy_j, accuracy) > 0", name=op.f("ck_measurements_figures")),
    )
    op.create_index("ix_measurements_candidate_id_date_id", "measurements", ["candidate_id", "date", "id"])


def downgrade() -> None:
    """Drops the table with what it holds."""
    op.drop_table("measurements")


def _reference(column: str, table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_measurements_{column}_{table}"
    return sa.ForeignKeyConstraint([column], [f"{table}.id"], name=name, ondelete="CASCADE")
