"""Addresses that wait for the label of an image, and what became of each call."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "callbacks",
        sa.Column("callback_id", sa.Text(), nullable=False),
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Text()),
        sa.Column("delivered", sa.Text()),
        sa.Column("delivered_at", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("callback_id", name=op.f("pk_callbacks")),
    )
    op.create_index(op.f("ix_callbacks_prediction_id"), "callbacks", ["prediction_id"])
    op.create_index(op.f("ix_callbacks_due_at"), "callbacks", ["due_at"])
