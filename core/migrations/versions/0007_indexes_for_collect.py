"""Indexes that let a collect and the status find what they need without reading whole tables."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

PARTIAL = {
    "ix_assignments_disputed": "disputed_at IS NOT NULL",
    "ix_assignments_skipped": "outcome = 'skipped'",
}


def upgrade() -> None:
    op.create_index("ix_assignments_sample_id", "assignments", ["sample_id"])
    for name, rows in PARTIAL.items():
        where = sa.text(rows)
        op.create_index(
            name, "assignments", ["sample_id"], sqlite_where=where, postgresql_where=where
        )
