"""How many there are of what: counted in indexes, without reading the rows of a large ledger."""

from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Select,
    exists,
    func,
    literal_column,
    select,
    union,
)

from labeling.ledger.tables import assignments, audit, labels, samples

# Spelt out: SQLite uses a partial index only where the query has its very condition.
_IS_SKIPPED = assignments.c.outcome == literal_column("'skipped'")


def count_pool(connection: Connection) -> int:
    """How many samples `rounds.load_pool` would return.

    All samples, without the labelled ones and those that are out for another reason. Of the first
    two there are many and they are counted; of the last there are few and they are looked at.
    """
    return count_samples(connection) - count_labels(connection) - _count_set_aside(connection)


def count_samples(connection: Connection) -> int:
    """How many samples there are."""
    return connection.scalar(select(func.count()).select_from(samples)) or 0


def count_labels(connection: Connection) -> int:
    """How many samples have a label in force."""
    in_force = labels.c.replaced_at.is_(None)
    return connection.scalar(select(func.count()).select_from(labels).where(in_force)) or 0


def count_skipped(connection: Connection) -> int:
    """How many samples were skipped by everybody asked and have no label."""
    skipped = select(assignments.c.sample_id).where(_IS_SKIPPED)
    return _count_unlabelled(connection, skipped.distinct())


def _count_set_aside(connection: Connection) -> int:
    """Samples without a label that nobody may be asked about: open, skipped, or near the audit."""
    asked = assignments.c.sample_id
    near = samples.alias()
    audited = (
        select(near.c.sample_id)
        .select_from(audit)
        .join(samples, samples.c.sample_id == audit.c.sample_id)
        .join(near, near.c.group_id == samples.c.group_id)
    )
    return _count_unlabelled(
        connection,
        union(
            select(asked).where(assignments.c.closed_at.is_(None)),
            select(asked).where(_IS_SKIPPED),
            audited,
        ),
    )


def _count_unlabelled(connection: Connection, sample_ids: Select[Any] | CompoundSelect[Any]) -> int:
    """How many of these samples have no label in force."""
    named = sample_ids.subquery()
    has_label = exists().where(
        labels.c.sample_id == named.c.sample_id, labels.c.replaced_at.is_(None)
    )
    return connection.scalar(select(func.count()).select_from(named).where(~has_label)) or 0
