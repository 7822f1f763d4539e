"""The sources that are counted by name, day by day; truths by standing and model."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "slice_names",
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("day", "name", name=op.f("pk_slice_names")),
    )
    op.execute(
        "INSERT INTO slice_names (day, name) "
        "SELECT DISTINCT substr(hour, 1, 10), slice FROM truths WHERE slice <> ''"
    )
    op.create_index("ix_truths_standing", "truths", ["standing", "model", "number"])
