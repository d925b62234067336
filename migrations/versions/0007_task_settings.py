"""Tasks that belong to no job and are told what to do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the settings; those of a job's task stand in its job."""
    op.add_column("tasks", sa.Column("settings", JSONB(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Forgets them."""
    op.drop_column("tasks", "settings")
