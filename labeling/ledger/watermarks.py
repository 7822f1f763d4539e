"""How far something was read or done, by name."""

from sqlalchemy import Connection, delete, insert, select

from labeling.ledger.tables import watermarks


def watermark_of(connection: Connection, name: str) -> str | None:
    """How far `name` was read."""
    return connection.scalar(select(watermarks.c.value).where(watermarks.c.name == name))


def save_watermark(connection: Connection, name: str, value: str) -> None:
    """Remember how far `name` was read."""
    drop_watermark(connection, name)
    connection.execute(insert(watermarks).values(name=name, value=value))


def drop_watermark(connection: Connection, name: str) -> None:
    """Have `name` read or done from its beginning."""
    connection.execute(delete(watermarks).where(watermarks.c.name == name))
