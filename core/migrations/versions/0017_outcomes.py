"""Outcomes of served predictions: every truth that came, and what follows from them."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

COUNTED = ("model", "hour", "slice", "standing", "label", "truth")


def upgrade() -> None:
    op.create_table(
        "outcomes",
        sa.Column("outcome_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("truth", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("strength", sa.Text(), nullable=False),
        sa.Column("at", sa.Text()),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("repeats", sa.Boolean()),
        sa.Column("superseded_by", sa.Text()),
        sa.PrimaryKeyConstraint("outcome_id", name=op.f("pk_outcomes")),
        sa.UniqueConstraint("seq", name=op.f("uq_outcomes_seq")),
    )
    op.create_index(op.f("ix_outcomes_prediction_id"), "outcomes", ["prediction_id"])
    op.create_table(
        "truths",
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("hour", sa.Text(), nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("truth", sa.Text(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_truths")),
        sa.UniqueConstraint("number", name=op.f("uq_truths_number")),
    )
    op.create_index(op.f("ix_truths_sample_id"), "truths", ["sample_id"])
    op.create_table(
        "truth_counts",
        *(sa.Column(name, sa.Text(), nullable=False) for name in COUNTED),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(*COUNTED, name=op.f("pk_truth_counts")),
    )
    op.create_table(
        "waiting_outcomes",
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_waiting_outcomes")),
    )
