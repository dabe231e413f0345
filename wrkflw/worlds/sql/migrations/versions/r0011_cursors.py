"""How far sources outside of the database were read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cursors",
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("position", sa.String),
        sa.Column("owner", sa.String),
        sa.PrimaryKeyConstraint("namespace", "source"),
        sqlite_with_rowid=False,
    )
