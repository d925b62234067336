"""Jobs remember the key they were sent with, so that a repeated request finds the job it made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the key, unique within an owner."""
    op.add_column("jobs", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.create_unique_constraint("uq_jobs_owner_id_idempotency_key", "jobs", ["owner_id", "idempotency_key"])


def downgrade() -> None:
    """Forgets the keys."""
    op.drop_constraint("uq_jobs_owner_id_idempotency_key", "jobs")
    op.drop_column("jobs", "idempotency_key")
