"""Samples that were erased: which may be, what is left of them on record, and in which shards.

An erased sample has no row in `samples`, so that nothing offers, reads or counts it. Where its
bytes were is in `erased_samples`; `labeling.snapshots.replaced` writes the shards anew.
"""

from collections.abc import Collection, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Select,
    Table,
    Text,
    delete,
    select,
    text,
)

from core import journal
from core.database import metadata, now, stream
from core.intents import open_intents
from core.journal import COVERED
from core.rows import chunks
from labeling.ledger.reasons import Origin
from labeling.ledger.rounds import samples_of_open_rounds
from labeling.ledger.tables import (
    answers,
    assignments,
    audit,
    duel_samples,
    duels,
    gold,
    labels,
    pending_settlement,
    rounds,
    sample_metadata,
    samples,
    sources,
)

REPLACE = "replace-shard"  # kind of the intent to write a shard anew, by its old name
AT_ONCE = 20_000  # samples of one erasure
SHARDS_AT_ONCE = 50  # that one erasure touches

erased_samples = Table(
    "erased_samples",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # of the row in `erasures`
    Column("sample_id", Text, primary_key=True, index=True),
    Column("group_id", Text, nullable=False, index=True),
    Column("shard", Text, nullable=False, index=True),  # that had the image, or its successor
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("done_at", Text),  # null: its bytes may be there
    info=COVERED,
)

Index(
    "ix_erased_samples_undone",
    erased_samples.c.number,
    sqlite_where=text("done_at IS NULL"),
    postgresql_where=text("done_at IS NULL"),
)

# Shards that were written anew, with zeros in the places of erased images.
replaced_shards = Table(
    "replaced_shards",
    metadata,
    Column("shard", Text, primary_key=True),
    Column("md5", Text, nullable=False),  # by which DVC names it
    Column("successor", Text),  # null: no image is left in it
    Column("successor_md5", Text),
    Column("replaced_at", Text, nullable=False),
    Column("dropped_at", Text),  # from the workspace, DVC's cache and the remote
    info=COVERED,
)

# What somebody decided about a sample, or may be asked about it: its image is needed for that.
BINDING: dict[str, Select[Any]] = {
    "it is gold, which checks annotators": select(gold.c.sample_id),
    "it has or had a label, and snapshots and models rest on it": select(labels.c.sample_id),
    "it was answered, and a label may rest on that": select(answers.c.sample_id),
    "annotators have it, in a round that is open": select(assignments.c.sample_id)
    .join(rounds, rounds.c.round_id == assignments.c.round_id)
    .where(assignments.c.closed_at.is_(None) | rounds.c.closed_at.is_(None)),
    "it was drawn for the duel under way": select(duel_samples.c.sample_id)
    .join(duels, duels.c.duel_id == duel_samples.c.duel_id)
    .where(duels.c.ended_at.is_(None)),
}
SHOWN = "annotators may be looking at it, in a round that is open"


def bound(connection: Connection, sample_ids: Collection[str]) -> dict[str, str]:
    """Those of these samples that are not to be erased, each with why."""
    reasons: dict[str, str] = {}
    for part in chunks(sorted(sample_ids)):
        for why, query in reversed(BINDING.items()):
            (column,) = query.selected_columns
            reasons |= dict.fromkeys(connection.scalars(query.where(column.in_(part))), why)
    shown = samples_of_open_rounds(connection) & set(sample_ids)
    return dict.fromkeys(shown, SHOWN) | reasons


def old_unanswered(
    connection: Connection, before: str, *, spared: Collection[str] = ()
) -> list[str]:
    """Samples from the traffic that came in before a moment and that nobody decided about.

    The oldest, of so many shards as are written anew in one run.
    """
    free = [samples.c.sample_id.not_in(query) for query in BINDING.values()]
    query = select(*samples.c["sample_id", "shard"]).where(
        samples.c.origin == Origin.SERVED, samples.c.added_at < before, *free
    )
    shown = samples_of_open_rounds(connection)
    chosen: list[str] = []
    shards: set[str] = set()
    for row in stream(connection, query.order_by(samples.c.added_at, samples.c.sample_id)):
        if row.sample_id in spared or row.sample_id in shown:
            continue
        shards.add(row.shard)
        if len(chosen) == AT_ONCE or len(shards) > SHARDS_AT_ONCE:
            break
        chosen.append(row.sample_id)
    return chosen


def forget_samples(connection: Connection, number: int, sample_ids: Sequence[str]) -> None:
    """Leave of these samples only where their bytes are, under the number of their erasure."""
    if connection.dialect.name == "sqlite":  # else thumbnails stay in free pages
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    columns = samples.c["sample_id", "group_id", "shard", "offset", "length"]
    for part in chunks(sorted(sample_ids)):
        rows = connection.execute(select(*columns).where(samples.c.sample_id.in_(part)))
        same = {"number": number, "done_at": None}
        journal.insert(connection, erased_samples, [{**row._mapping, **same} for row in rows])
        connection.execute(delete(sources).where(sources.c.sample_id.in_(part)))
        connection.execute(
            delete(pending_settlement).where(pending_settlement.c.sample_id.in_(part))
        )
        for table in (sample_metadata, audit, samples):
            journal.delete(connection, table, table.c.sample_id.in_(part))


def places_to_erase(connection: Connection) -> dict[str, list[tuple[int, int]]]:
    """By shard with an image that is not known to be erased, the places of all erased ones."""
    undone = select(erased_samples.c.shard).where(erased_samples.c.done_at.is_(None))
    columns = erased_samples.c["shard", "offset", "length"]
    query = select(*columns).where(erased_samples.c.shard.in_(undone)).order_by(*columns).distinct()
    rows = groupby(stream(connection, query), key=attrgetter("shard"))
    return {shard: [(row.offset, row.length) for row in places] for shard, places in rows}


def undone(connection: Connection) -> list[int]:
    """The numbers of erasures of samples that are not known to be done."""
    left = select(erased_samples.c.number).where(erased_samples.c.done_at.is_(None)).distinct()
    return sorted(connection.scalars(left))


def erased_before(connection: Connection, sample_ids: Collection[str]) -> set[str]:
    """Those of these images that were erased as samples, once or more often."""
    mine = erased_samples.c.sample_id
    return {
        name
        for part in chunks(sorted(sample_ids))
        for name in connection.scalars(select(mine).where(mine.in_(part)))
    }


def mark_erased(connection: Connection, numbers: Collection[int]) -> None:
    """Record that the bytes of these erasures are gone."""
    mine = erased_samples.c.number.in_(sorted(numbers)), erased_samples.c.done_at.is_(None)
    journal.update(connection, erased_samples, *mine, done_at=now())


def has_samples(connection: Connection, shard: str) -> bool:
    """Whether an image is left in a shard."""
    mine = select(samples.c.sample_id).where(samples.c.shard == shard)
    return connection.scalar(mine.limit(1)) is not None


def is_replaced(connection: Connection, shard: str) -> bool:
    """Whether a shard was written anew, or is no more."""
    known = select(replaced_shards.c.shard).where(replaced_shards.c.shard == shard)
    return connection.scalar(known) is not None


def being_replaced(connection: Connection) -> set[str]:
    """The shards that are being written anew, and those that take their places."""
    begun = open_intents(connection, REPLACE)
    return {*begun, *(str(one["successor"]) for one in begun.values())}


def erased_groups() -> Any:
    """The groups of near-duplicates of which a sample was erased, as a query."""
    return select(erased_samples.c.group_id)
