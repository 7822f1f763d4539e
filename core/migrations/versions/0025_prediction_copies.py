"""Where a prediction was recorded once more, so that its image can be erased there, too."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_table(
        "prediction_copies",
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("offset", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("segment", "offset", name=op.f("pk_prediction_copies")),
    )
    op.create_index(
        op.f("ix_prediction_copies_prediction_id"), "prediction_copies", ["prediction_id"]
    )
