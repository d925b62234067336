"""Jobs whose images are made from the network itself have no data set."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The column may be empty."""
    op.alter_column("jobs", "dataset_id", existing_type=sa.UUID(), nullable=True)


def downgrade() -> None:
    """Jobs without data go: nothing could stand in their column."""
    op.execute("DELETE FROM jobs WHERE dataset_id IS NULL")
    op.alter_column("jobs", "dataset_id", existing_type=sa.UUID(), nullable=False)
