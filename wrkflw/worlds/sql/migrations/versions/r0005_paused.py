"""Finding paused runs without looking at all the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "runs_paused",
        "runs",
        ["namespace", "created_at", "run_no"],
        sqlite_where=sa.text("paused_at IS NOT NULL"),
    )
