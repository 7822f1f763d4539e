"""Decisions with their ladder and reasons, watch states, incidents and halts."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

OF_DECISIONS: dict[str, sa.types.TypeEngine[Any]] = {
    "step": sa.Text(), "kind": sa.Text(), "why": sa.JSON(), "why_not": sa.JSON(),
    "cost": sa.JSON(), "estimate": sa.JSON(), "exemplars": sa.JSON(), "spent": sa.Float(), "evidence": sa.Float(), "threshold": sa.Float(),
    "incident_id": sa.Text(), "accepted_by": sa.Text(), "accepted_why": sa.Text(),
    "accepted_at": sa.Text(),
}  # fmt: skip
OF_SIGNALS: dict[str, sa.types.TypeEngine[Any]] = {
    "family": sa.Text(), "evidence": sa.Float(), "accumulated": sa.Float(),
    "groups": sa.Integer(), "meaning": sa.Text(),
}  # fmt: skip


def upgrade() -> None:
    for table, columns in (("decisions", OF_DECISIONS), ("signals", OF_SIGNALS)):
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind, nullable=True))
    op.drop_index("uq_decisions_window", "decisions")  # a check without new traffic has no window
    op.create_index("ix_decisions_model", "decisions", ["model", "last_seq"])
    op.create_table(
        "watch_states",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_watch_states")),
    )
    _create_incidents()
    op.create_table(
        "halts",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("release", sa.Integer()),
        sa.Column("decision_id", sa.Text()),
        sa.Column("halted_at", sa.Text(), nullable=False),
        sa.Column("lifted_at", sa.Text()),
        sa.Column("lifted_by", sa.Text()),
        sa.Column("lifted_why", sa.Text()),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_halts")),
    )


def _create_incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text()),
        sa.Column("opened_at", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.Text()),
        sa.ForeignKeyConstraint(
            ["opened_by"],
            ["decisions.decision_id"],
            name=op.f("fk_incidents_opened_by_decisions"),
        ),
        sa.PrimaryKeyConstraint("incident_id", name=op.f("pk_incidents")),
        sa.UniqueConstraint("number", name=op.f("uq_incidents_number")),
    )
    op.create_table(
        "incident_events",
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incidents.incident_id"],
            name=op.f("fk_incident_events_incident_id_incidents"),
        ),
        sa.PrimaryKeyConstraint("incident_id", "number", name=op.f("pk_incident_events")),
    )
