"""Keys are found without the workflow: those of a schedule, whose runs may be of several."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("runs_key", "runs")
    op.create_index(
        "runs_key",
        "runs",
        ["namespace", "idempotency_key", "workflow_name"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
    )
