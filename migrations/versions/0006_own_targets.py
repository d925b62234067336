"""Hardware that people describe or measure themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the table; an id is taken once within an owner."""
    op.create_table(
        "targets",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("owner_id", sa.UUID(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("toml", sa.Text(), nullable=False),
        sa.Column("document", JSONB(none_as_null=True), nullable=False),
        *(
            sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
            for name in ("created_at", "updated_at")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_targets"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_targets_owner_id_owners", ondelete="CASCADE"),
        sa.UniqueConstraint("owner_id", "slug", name="uq_targets_owner_id_slug"),
    )


def downgrade() -> None:
    """Drops the table with what it holds."""
    op.drop_table("targets")
