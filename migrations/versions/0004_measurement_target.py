"""A measurement says which of its job's targets it stands beside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_FIRST_TARGET = """
UPDATE measurements SET target = jobs.specification -> 'targets' ->> 0
  FROM candidates JOIN jobs ON jobs.id = candidates.job_id
 WHERE candidates.id = measurements.candidate_id
"""


def upgrade() -> None:
    """Adds the target; what was measured before belongs to its job's first one."""
    op.add_column("measurements", sa.Column("target", sa.Text(), nullable=True))
    op.execute(_FIRST_TARGET)
    op.alter_column("measurements", "target", nullable=False)


def downgrade() -> None:
    """Forgets the targets."""
    op.drop_column("measurements", "target")
