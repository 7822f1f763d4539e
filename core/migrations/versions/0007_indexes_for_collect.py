"""Indexes that let a collect and the status find what they need without reading whole tables."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

PARTIAL = (  # name, table, column, rows
    ("ix_assignments_disputed", "assignments", "sample_id", "disputed_at IS NOT NULL"),
    ("ix_assignments_skipped", "assignments", "sample_id", "outcome = 'skipped'"),
    ("ix_answers_replaced", "answers", "replaced_at", "replaced_at IS NOT NULL"),
    ("ix_labels_replaced", "labels", "replaced_at", "replaced_at IS NOT NULL"),
)


def upgrade() -> None:
    # With these SQLite read every row in force, for any few samples that were asked for.
    op.drop_index("ix_answers_replaced_at", "answers")
    op.drop_index("ix_labels_replaced_at", "labels")
    op.create_index("ix_assignments_sample_id", "assignments", ["sample_id"])
    for name, table, column, rows in PARTIAL:
        where = sa.text(rows)
        op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)
