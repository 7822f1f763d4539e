"""Alerts, and the messages that take them to the channels."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("command", sa.Text()),
        sa.Column("exemplars", sa.JSON(), nullable=False),
        sa.Column("raised_at", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.Text()),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alerts")),
        sa.UniqueConstraint("seq", name=op.f("uq_alerts_seq")),
    )
    _partial_index("ix_alerts_open", "alerts", "about", "closed_at IS NULL", unique=False)
    op.create_index("ix_alerts_about", "alerts", ["about", "seq"])
    op.create_table(
        "alert_messages",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("alerts", sa.JSON(), nullable=False),
        sa.Column("up_to", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tried_at", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("delivered_at", sa.Text()),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_alert_messages")),
    )
    op.create_index("uq_alert_messages_up_to", "alert_messages", ["channel", "up_to"], unique=True)
    _partial_index(
        "uq_alert_messages_unsent", "alert_messages", "channel", "delivered_at IS NULL", unique=True
    )


def _partial_index(name: str, table: str, column: str, where: str, *, unique: bool) -> None:
    op.create_index(
        name,
        table,
        [column],
        unique=unique,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
