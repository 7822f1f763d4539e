"""Duels: what two models disagree about, in the order it is asked, and what was answered."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "duels",
        sa.Column("duel_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("champion", sa.Text(), nullable=False),
        sa.Column("challenger", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("approval", sa.Text(), nullable=False),
        sa.Column("began_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text()),
        sa.Column("outcome", sa.Text()),
        sa.Column("verdict_id", sa.Text()),
        sa.PrimaryKeyConstraint("duel_id", name=op.f("pk_duels")),
        sa.UniqueConstraint("number", name=op.f("uq_duels_number")),
    )
    op.create_index("uq_duels_models", "duels", ["champion", "challenger"], unique=True)
    op.create_table(
        "duel_samples",
        sa.Column("duel_id", sa.Text(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("population", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("champion_output", sa.JSON(), nullable=False),
        sa.Column("challenger_output", sa.JSON(), nullable=False),
        sa.Column("round_id", sa.Text()),
        sa.Column("ending", sa.Text()),
        sa.Column("answer", sa.Text()),
        sa.Column("value", sa.Integer()),
        sa.Column("counted_at", sa.Text()),
        sa.ForeignKeyConstraint(
            ["duel_id"], ["duels.duel_id"], name=op.f("fk_duel_samples_duel_id_duels")
        ),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["samples.sample_id"], name=op.f("fk_duel_samples_sample_id_samples")
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["rounds.round_id"], name=op.f("fk_duel_samples_round_id_rounds")
        ),
        sa.PrimaryKeyConstraint("duel_id", "sample_id", name=op.f("pk_duel_samples")),
    )
    op.create_index(
        "uq_duel_samples_position",
        "duel_samples",
        ["duel_id", "population", "position"],
        unique=True,
    )
    op.create_index("ix_duel_samples_sample_id", "duel_samples", ["sample_id"])
    op.create_index("ix_duel_samples_round_id", "duel_samples", ["round_id"])
