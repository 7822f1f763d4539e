"""Served predictions carry statistics of the image, and the source that the client named."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("predictions", sa.Column("statistics", sa.LargeBinary(), nullable=True))
    op.add_column("predictions", sa.Column("source", sa.Text(), nullable=True))
