"""When runs are to lose their payloads, and which have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "retained",
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("due_at", sa.Integer, nullable=False),
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "due_at", "run_no"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "expired",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("expired_at", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_no"),
        sa.ForeignKeyConstraint(["run_no"], ["runs.run_no"]),
        sqlite_with_rowid=False,
    )
