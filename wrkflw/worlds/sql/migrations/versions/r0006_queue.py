"""Messages of the queue, and how often the process of a run has died."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WAITS = "lease_owner IS NULL AND dead_at IS NULL"


def upgrade() -> None:
    op.create_table(
        "queue_messages",
        sa.Column("message_no", sa.Integer, nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("queue_name", sa.String, nullable=False),
        sa.Column("run_id", sa.String),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("headers", sa.String),
        sa.Column("idempotency_key", sa.String),
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("available_at", sa.Integer, nullable=False),
        sa.Column("lease_owner", sa.String),
        sa.Column("last_error", sa.String),
        sa.Column("dead_at", sa.Integer),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("message_no"),
        sa.CheckConstraint("scope = 'pending' OR scope = 'inflight'", name="queue_scope"),
        sa.UniqueConstraint("message_id"),
    )
    for name, column, where in (
        ("queue_pending", "idempotency_key", f"idempotency_key IS NOT NULL AND scope = 'pending' AND {WAITS}"),
        ("queue_inflight", "idempotency_key", "idempotency_key IS NOT NULL AND scope = 'inflight' AND dead_at IS NULL"),
        ("queue_due", "available_at", WAITS),
        ("queue_dead", "dead_at", "dead_at IS NOT NULL"),
    ):
        unique = column == "idempotency_key"
        op.create_index(name, "queue_messages", ["namespace", column], unique=unique, sqlite_where=sa.text(where))
    for name, column in (("queue_leased", "lease_owner"), ("queue_of_run", "run_id")):
        op.create_index(name, "queue_messages", [column], sqlite_where=sa.text(f"{column} IS NOT NULL"))
    op.create_table(
        "crashes",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_no"),
        sa.ForeignKeyConstraint(["run_no"], ["runs.run_no"]),
        sqlite_with_rowid=False,
    )
