"""Answers of a challenger are marked once a check observed their truth."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column("shadow_answers", sa.Column("judged", sa.Boolean(), nullable=True))
