"""Schedules, how far each was considered, and which of their runs are open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("schedule_id", sa.String, nullable=False),
        sa.Column("workflow_name", sa.String, nullable=False),
        sa.Column("timing", sa.String, nullable=False),
        sa.Column("timezone", sa.String, nullable=False),
        sa.Column("catchup", sa.String, nullable=False),
        sa.Column("overlap", sa.String, nullable=False),
        sa.Column("cursor", sa.Integer, nullable=False),
        sa.Column("paused_at", sa.Integer),
        sa.Column("last_run_id", sa.String),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "schedule_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("schedules_changed", "schedules", ["namespace", "version"])
    op.create_table(
        "scheduled_runs",
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("schedule_id", sa.String, nullable=False),
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "schedule_id", "run_no"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "missed_instants",
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("schedule_id", sa.String, nullable=False),
        sa.Column("instant", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "schedule_id", "instant"),
        sqlite_with_rowid=False,
    )
