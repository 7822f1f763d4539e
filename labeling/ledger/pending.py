"""Samples whose label must be settled anew, because their answers or known class changed."""

from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select

from core import journal
from core.rows import chunks
from labeling.ledger.tables import pending_settlement
from labeling.ledger.watermarks import drop_watermark

LAST_FULL = "settled"  # watermark: when and how the whole ledger was last settled


def mark_pending(connection: Connection, sample_ids: Collection[str]) -> None:
    """Note that these samples must be settled anew; call it where their answers change."""
    journal.lock(connection)
    for keys in chunks(sorted(sample_ids)):
        table = pending_settlement.c.sample_id
        known = set(connection.scalars(select(table).where(table.in_(keys))))
        fresh = [{"sample_id": key} for key in keys if key not in known]
        if fresh:
            connection.execute(insert(pending_settlement), fresh)


def pending_samples(connection: Connection) -> set[str]:
    """Samples whose answers changed since they were last settled."""
    return set(connection.scalars(select(pending_settlement.c.sample_id)))


def clear_pending(connection: Connection, sample_ids: Collection[str]) -> None:
    """These samples are settled."""
    for keys in chunks(sorted(sample_ids)):
        connection.execute(
            delete(pending_settlement).where(pending_settlement.c.sample_id.in_(keys))
        )


def forget_full_pass(connection: Connection) -> None:
    """Have everything settled together next time: what is known of annotators changed."""
    drop_watermark(connection, LAST_FULL)
