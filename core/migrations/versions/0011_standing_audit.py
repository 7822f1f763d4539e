"""The standing audit: its key, and what each audit row was drawn by. Rows from before have no number."""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "audit_key",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_key")),
    )
    dialect = op.get_bind().dialect.name
    if dialect == "sqlite":  # it copies the table, and with it all triggers would be gone
        _drop_triggers()
    with op.batch_alter_table("audit") as audit:
        audit.alter_column("round_id", existing_type=sa.Text(), nullable=True)
        audit.add_column(sa.Column("number", sa.Float(), nullable=True))
        audit.add_column(sa.Column("part", sa.Text(), nullable=True))
        audit.add_column(sa.Column("report_share", sa.Float(), nullable=True))
    if dialect == "sqlite":
        import_module("core.migrations.versions.0008_counts").create_triggers(dialect)


def _drop_triggers() -> None:
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'count!_%' ESCAPE '!'"
    )
    for name in op.get_bind().scalars(sa.text(query)).all():
        op.execute(f"DROP TRIGGER {name}")
