"""Places where the outside can hand something in, and places where a run sleeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hooks",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("hook_id", sa.String, nullable=False),
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("created_slot", sa.Integer, nullable=False),
        sa.Column("step_id", sa.String),
        sa.Column("payloads", sa.Integer, nullable=False),
        sa.Column("released_slot", sa.Integer),
        sa.Column("retention_until", sa.Integer),
        sa.Column("is_system", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("run_no", "hook_id"),
        sa.ForeignKeyConstraint(["run_no"], ["runs.run_no"]),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "hooks_token", "hooks", ["namespace", "token"], unique=True, sqlite_where=sa.text("released_slot IS NULL")
    )
    op.create_table(
        "waits",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("wait_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_slot", sa.Integer, nullable=False),
        sa.Column("key", sa.String),
        sa.Column("signal_type", sa.String),
        sa.Column("resume_at", sa.Integer),
        sa.Column("matched_slot", sa.Integer),
        sa.Column("completed_slot", sa.Integer),
        sa.PrimaryKeyConstraint("run_no", "wait_id"),
        sa.ForeignKeyConstraint(["run_no"], ["runs.run_no"]),
        sqlite_with_rowid=False,
    )
