"""Choosing: with which probability each sample was drawn, and the rule that chose a batch."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("assignments", sa.Column("draw_probability", sa.Float(), nullable=True))
    op.add_column("assignments", sa.Column("draws_from", sa.Integer(), nullable=True))
    op.add_column("rounds", sa.Column("rule", sa.Text(), nullable=True))
