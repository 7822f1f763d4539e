"""Annotators: gold, blind and repeated assignments, final words."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "gold",
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("added_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["samples.sample_id"], name=op.f("fk_gold_sample_id")
        ),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_gold")),
    )
    op.add_column("answers", sa.Column("round_id", sa.Text(), nullable=True))
    for column in (
        sa.Column("probs", sa.Text(), nullable=True),
        sa.Column("blind", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("neighbour", sa.Text(), nullable=True),
        sa.Column("wanted", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("asked_again", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("disputed_at", sa.Text(), nullable=True),
    ):
        op.add_column("assignments", column)
