"""Which samples were erased, and which shards were written anew without them.

What is over may name a sample that was erased: assignments and duel_samples have no foreign key.
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

FOREIGN_KEYS = {
    "assignments": "fk_assignments_sample_id",
    "duel_samples": "fk_duel_samples_sample_id_samples",
}


def upgrade() -> None:
    op.create_table(
        "erased_samples",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Text(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.Text()),
        sa.PrimaryKeyConstraint("number", "sample_id", name=op.f("pk_erased_samples")),
    )
    op.create_index(op.f("ix_erased_samples_sample_id"), "erased_samples", ["sample_id"])
    op.create_index(op.f("ix_erased_samples_group_id"), "erased_samples", ["group_id"])
    op.create_index(op.f("ix_erased_samples_shard"), "erased_samples", ["shard"])
    undone = sa.text("done_at IS NULL")
    op.create_index(
        "ix_erased_samples_undone",
        "erased_samples",
        ["number"],
        sqlite_where=undone,
        postgresql_where=undone,
    )
    op.create_table(
        "replaced_shards",
        sa.Column("shard", sa.Text(), nullable=False),
        sa.Column("md5", sa.Text(), nullable=False),
        sa.Column("successor", sa.Text()),
        sa.Column("successor_md5", sa.Text()),
        sa.Column("replaced_at", sa.Text(), nullable=False),
        sa.Column("dropped_at", sa.Text()),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_replaced_shards")),
    )
    op.create_index("ix_samples_added_at", "samples", ["added_at"])
    _drop_foreign_keys()


def _drop_foreign_keys() -> None:
    bind = op.get_bind()
    if bind.dialect.name != "sqlite":
        for table, name in FOREIGN_KEYS.items():
            op.drop_constraint(name, table, type_="foreignkey")
        return
    made_by = dict(
        bind.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        .tuples()
        .all()
    )
    for name in made_by:  # they name tables that are copied
        bind.exec_driver_sql(f"DROP TRIGGER {name}")
    for table, name in FOREIGN_KEYS.items():
        with op.batch_alter_table(table) as batch:
            batch.drop_constraint(name, type_="foreignkey")
    for statement in made_by.values():
        bind.exec_driver_sql(statement)
