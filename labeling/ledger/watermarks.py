"""How far something was read or done, by name."""

from sqlalchemy import Connection, select

from core import journal
from labeling.ledger.tables import watermarks

ADOPTED = "adopted-traffic"  # predictions.seq up to which served images were taken over


def watermark_of(connection: Connection, name: str) -> str | None:
    """How far `name` was read."""
    return connection.scalar(select(watermarks.c.value).where(watermarks.c.name == name))


def save_watermark(connection: Connection, name: str, value: str) -> None:
    """Remember how far `name` was read."""
    if not journal.update(connection, watermarks, watermarks.c.name == name, value=value):
        journal.insert(connection, watermarks, [{"name": name, "value": value}])


def drop_watermark(connection: Connection, name: str) -> None:
    """Have `name` read or done from its beginning."""
    journal.delete(connection, watermarks, watermarks.c.name == name)
