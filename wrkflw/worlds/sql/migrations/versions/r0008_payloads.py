"""Large payloads by their hash, and codecs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "payloads",
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("last_used_at", sa.Integer, nullable=False),
        sa.Column("doomed", sa.Boolean, nullable=False),
        sa.Column("data", sa.LargeBinary),
        sa.PrimaryKeyConstraint("namespace", "sha256"),
    )
    with op.batch_alter_table("events", recreate="always", table_kwargs={"sqlite_with_rowid": False}) as events:
        events.add_column(sa.Column("codec", sa.String))
        events.add_column(sa.Column("payload_ref", sa.String))
        events.create_index("events_large", ["payload_ref"], sqlite_where=sa.text("payload_ref IS NOT NULL"))
    with op.batch_alter_table("chunks", recreate="always", table_kwargs={"sqlite_with_rowid": False}) as chunks:
        chunks.add_column(sa.Column("codec", sa.String))
