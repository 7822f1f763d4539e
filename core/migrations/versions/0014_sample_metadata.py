"""What is given about images beside their labels: any column, each value a slice of a verdict."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "sample_metadata",
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("given_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sample_id"], ["samples.sample_id"], name=op.f("fk_sample_metadata_sample_id_samples")
        ),
        sa.PrimaryKeyConstraint("sample_id", "name", name=op.f("pk_sample_metadata")),
    )
    op.create_index("ix_sample_metadata_name", "sample_metadata", ["name"])
