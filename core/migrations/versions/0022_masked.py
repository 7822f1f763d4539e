"""Samples are marked with what was made coarse in their image before it was stored."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("samples", sa.Column("masked", sa.JSON(), nullable=True))
