"""Streams and their chunks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "streams",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("run_no", "stream"),
        sa.ForeignKeyConstraint(["run_no"], ["runs.run_no"]),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chunks",
        sa.Column("run_no", sa.Integer, nullable=False),
        sa.Column("after_slot", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("idx", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("key", sa.String),
        sa.Column("attempt", sa.Integer),
        sa.Column("epoch", sa.Integer),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_no", "after_slot", "number"),
        sqlite_with_rowid=False,
    )
    op.create_index("chunks_of_stream", "chunks", ["run_no", "stream", "idx"], unique=True)
