"""Columns that nothing reads or writes go: a model's parent, a release's challenger and its share."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.drop_column("models", "parent")
    with op.batch_alter_table("releases") as releases:
        releases.drop_column("challenger")
        releases.drop_column("challenger_share")
