"""What the policies of a workspace were, and when they changed: rows that are only added."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Column, Connection, Index, Integer, Table, Text, select

from core import journal
from core.database import metadata, now

policy_changes = Table(
    "policy_changes",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("section", Text, nullable=False),  # of hone.toml
    Column("run", Text),  # the flow run that the policy was for; null: the workspace, from then on
    Column("old", JSON),  # null: nothing was recorded before
    Column("new", JSON, nullable=False),
    Column("effect", Text, nullable=False),  # what it changes, as was printed
    Column("changed_at", Text, nullable=False),
    info=journal.COVERED,
)
Index("ix_policy_changes_section", policy_changes.c.section)


@dataclass(frozen=True)
class PolicyChange:
    """A policy of the workspace, or of one run, that differs from the one before."""

    section: str
    old: Mapping[str, Any] | None
    new: Mapping[str, Any]
    effect: str
    run: str | None = None
    changed_at: str = ""


def last_policy(connection: Connection, section: str) -> Mapping[str, Any] | None:
    """The values of a section as they were last recorded for the workspace."""
    table = policy_changes
    query = (
        select(table.c.new)
        .where(table.c.section == section, table.c.run.is_(None))
        .order_by(table.c.seq.desc())
        .limit(1)
    )
    values: Mapping[str, Any] | None = connection.scalar(query)
    return values


def record_policy(connection: Connection, change: PolicyChange) -> bool:
    """Add a change, once: not one that is the last of its section, or of its run, already."""
    table = policy_changes
    if change.run is None:
        known = last_policy(connection, change.section)
    else:
        own = (table.c.section == change.section) & (table.c.run == change.run)
        known = connection.scalar(
            select(table.c.new).where(own).order_by(table.c.seq.desc()).limit(1)
        )
    if known == change.new:
        return False
    row = {
        "section": change.section,
        "run": change.run,
        "old": change.old,
        "new": dict(change.new),
        "effect": change.effect,
        "changed_at": now(),
    }
    journal.insert(connection, table, [row])
    return True


def list_policy_changes(connection: Connection) -> list[PolicyChange]:
    """All changes, oldest first; the first of a section is what it was to begin with."""
    columns = policy_changes.c["section", "old", "new", "effect", "run", "changed_at"]
    rows = connection.execute(select(*columns).order_by(policy_changes.c.seq))
    return [PolicyChange(**row) for row in rows.mappings()]
