"""Runs and their log, steps, attributes, and the processes that own runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "owners",
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("lease_until", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("owner"),
        sqlite_with_rowid=False,
    )
    _create_runs()
    _create_events()
    op.create_table(
        "run_attributes",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("run_no", "key"),
        sa.ForeignKeyConstraint(["run_no"], ["runs.run_no"]),
        sqlite_with_rowid=False,
    )
    op.create_index("attributes_found", "run_attributes", ["namespace", "key", "value"])
    _create_steps()


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run_no", sa.Integer, primary_key=True, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("workflow_name", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.Integer, nullable=False),
        sa.Column("last_slot", sa.Integer, nullable=False),
        sa.Column("spec_version", sa.Integer, nullable=False),
        sa.Column("deployment_id", sa.String, nullable=False),
        sa.Column("definition_hash", sa.String),
        sa.Column("idempotency_key", sa.String),
        sa.Column("parent_run_id", sa.String),
        sa.Column("replayed_from", sa.String),
        sa.Column("started_at", sa.Integer),
        sa.Column("completed_at", sa.Integer),
        sa.Column("paused_at", sa.Integer),
        sa.Column("ended_slot", sa.Integer),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("wake_at", sa.Integer),
        sa.Column("seen_slot", sa.Integer, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("cancel_reason", sa.String),
        sa.CheckConstraint(
            "status = 'pending' OR status = 'running' OR status = 'completed' OR status = 'failed' "
            "OR status = 'cancelled'",
            name="runs_status",
        ),
        sa.UniqueConstraint("run_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "runs_due",
        "runs",
        ["namespace", "wake_at"],
        sqlite_where=sa.text("wake_at IS NOT NULL AND owner IS NULL AND paused_at IS NULL"),
    )
    op.create_index(
        "runs_key",
        "runs",
        ["namespace", "workflow_name", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index("runs_listed", "runs", ["namespace", "created_at", "run_no"])
    op.create_index("runs_owned", "runs", ["owner"], sqlite_where=sa.text("owner IS NOT NULL"))


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.Column("event_type", sa.String, nullable=False),
        sa.Column("subject", sa.Integer),
        sa.Column("correlation_id", sa.String),
        sa.Column("data", sa.String),
        sa.Column("payload", sa.LargeBinary),
        sa.Column("epoch", sa.Integer),
        sa.Column("resume_id", sa.String),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_no", "slot"),
        sa.ForeignKeyConstraint(["run_no"], ["runs.run_no"]),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "events_resume",
        "events",
        ["run_no", "resume_id"],
        unique=True,
        sqlite_where=sa.text("resume_id IS NOT NULL"),
    )
    op.create_index(
        "events_run_end",
        "events",
        ["run_no"],
        unique=True,
        sqlite_where=sa.text(
            "event_type = 'run_completed' OR event_type = 'run_failed' OR event_type = 'run_cancelled'"
        ),
    )


def _create_steps() -> None:
    op.create_table(
        "steps",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("step_id", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("step_name", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_slot", sa.Integer, nullable=False),
        sa.Column("updated_slot", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("child_run_id", sa.String),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_slot", sa.Integer),
        sa.Column("ended_slot", sa.Integer),
        sa.Column("error_slot", sa.Integer),
        sa.Column("hook_id", sa.String),
        sa.Column("retry_after", sa.Integer),
        sa.PrimaryKeyConstraint("run_no", "step_id"),
        sa.CheckConstraint(
            "status = 'pending' OR status = 'running' OR status = 'completed' OR status = 'failed'",
            name="steps_status",
        ),
        sqlite_with_rowid=False,
    )
    op.execute(
        "CREATE TRIGGER steps_end_once BEFORE UPDATE ON steps WHEN OLD.ended_slot IS NOT NULL "
        "BEGIN SELECT RAISE(ABORT, 'a step that has ended stays as it is'); END"
    )
