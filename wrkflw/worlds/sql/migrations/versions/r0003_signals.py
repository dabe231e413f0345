"""Signals that no wait has taken, in a table; whatever is asked of hooks and waits is answered by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "signals",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("signal_type", sa.String, nullable=False),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_no", "signal_type", "slot"),
        sa.ForeignKeyConstraint(["run_no"], ["runs.run_no"]),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO signals SELECT run_no, json_extract(data, '$.signal_type'), slot FROM events "
        "WHERE event_type = 'signal_received' AND NOT EXISTS "
        "(SELECT 1 FROM waits WHERE waits.run_no = events.run_no AND waits.matched_slot = events.slot)"
    )
    op.create_index(
        "waits_open",
        "waits",
        ["run_no", "signal_type", "created_slot"],
        sqlite_where=sa.text("status = 'waiting' AND matched_slot IS NULL AND signal_type IS NOT NULL"),
    )
    op.create_index(
        "events_once",
        "events",
        ["run_no", "correlation_id", "event_type"],
        unique=True,
        sqlite_where=sa.text("event_type = 'attr_set' OR event_type = 'hook_conflict'"),
    )
