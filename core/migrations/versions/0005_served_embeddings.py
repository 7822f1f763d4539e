"""Served predictions carry the embedding, so that a drift check does not run the network again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("predictions", sa.Column("embedding", sa.LargeBinary(), nullable=True))
