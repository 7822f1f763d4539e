"""What challengers answered beside the champion, and the evidence that checks of trials gathered."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

COUNTS = ("answered", "failed", "passed_over", "champion_answered", "champion_failed",
          "challenger_answered", "challenger_failed")  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "shadow_records",
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("champion", sa.Text(), nullable=False),
        sa.Column("challenger", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        sa.Column("timings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_shadow_records")),
        sa.UniqueConstraint("seq", name=op.f("uq_shadow_records_seq")),
    )
    op.create_index("ix_shadow_records_challenger", "shadow_records", ["challenger", "seq"])
    op.create_table(
        "shadow_answers",
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("challenger", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("champion", sa.Text(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("served_at", sa.Text(), nullable=False),
        sa.Column("served_label", sa.Text(), nullable=False),
        sa.Column("served_review", sa.Boolean(), nullable=False),
        sa.Column("label", sa.Text()),
        sa.Column("confidence", sa.Float()),
        sa.Column("needs_review", sa.Boolean()),
        sa.Column("error", sa.Text()),
        sa.Column("repeated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", "challenger", name=op.f("pk_shadow_answers")),
        sa.UniqueConstraint("seq", name=op.f("uq_shadow_answers_seq")),
    )
    op.create_index("ix_shadow_answers_sample", "shadow_answers", ["challenger", "sample_id"])
    op.create_index("ix_shadow_answers_challenger", "shadow_answers", ["challenger", "seq"])
    op.create_table(
        "trials",
        sa.Column("release", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_record", sa.Integer(), nullable=False),
        sa.Column("last_answer", sa.Integer(), nullable=False),
        sa.Column("last_truth", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("checked_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("release", name=op.f("pk_trials")),
    )
