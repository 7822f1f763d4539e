"""The journal, begun with every row that is there, as baseline.

A later migration that changes rows of a table in the journal appends what it did, with
`core.journal.append`.
"""

import sqlalchemy as sa
from alembic import op

from core import journal

revision = "0010"
down_revision = "0009"

ROWS = 2_000  # read at once
TABLES = (
    "samples", "rounds", "assignments", "audit", "gold", "answers", "labels", "label_answers",
    "snapshots", "watermarks", "models", "verdicts", "releases", "segments", "predictions",
    "decisions", "signals", "policy_changes",
)  # fmt: skip
# SQLite knows these as text.
JSON_COLUMNS = {
    "rounds": ["config"], "assignments": ["probs"], "labels": ["annotators"],
    "models": ["config", "metrics"], "verdicts": ["reasons", "metrics"],
    "predictions": ["probabilities"], "policy_changes": ["old", "new"],
}  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "journal",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_journal")),
    )
    bind = op.get_bind()
    for name in TABLES:
        columns = [sa.Column(json, sa.JSON()) for json in JSON_COLUMNS.get(name, ())]
        table = sa.Table(name, sa.MetaData(), *columns, autoload_with=bind)
        query = sa.select(table).execution_options(yield_per=ROWS)
        for part in bind.execute(query).mappings().partitions():
            rows = [dict(row) for row in part]
            journal.append(bind, table, "baseline", rows, table.columns.keys())
