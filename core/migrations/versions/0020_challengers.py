"""Releases have a challenger in shadow or canary, a front model, and the evidence for the change.

Rows of before have NULL in the new columns: releases of a champion alone.
"""

from alembic import op

revision = "0020"
down_revision = "0019"

COLUMNS = {"mode": "TEXT", "share": "FLOAT", "front_threshold": "FLOAT", "action": "TEXT",
           "evidence": "JSON"}  # fmt: skip


def upgrade() -> None:
    for name in ("challenger", "front"):  # in text: Alembic would write SQLite's table anew for it
        constraint = f"CONSTRAINT fk_releases_{name}_models REFERENCES models (version)"
        op.execute(f"ALTER TABLE releases ADD COLUMN {name} TEXT {constraint}")
    for name, kind in COLUMNS.items():
        op.execute(f"ALTER TABLE releases ADD COLUMN {name} {kind}")
