"""The journal: every change of a row that carries a promise, each entry chained to the one before.

`insert`, `update`, `update_rows` and `delete` change a covered table and append what they did, in
the caller's transaction. An entry's hash covers its content and the hash before it, so that nothing
in the chain can be changed, dropped or put in without a break. `core.journal_checks` compares the
chain with the rows.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Integer, LargeBinary, Table, Text

from core.database import HEAD, metadata
from core.rows import chunks

COVERED = {"journaled": True}  # `info` of a table whose rows are in the journal
ENTRY_ROWS = 2_000  # in one entry at most, so that checking takes little memory
TRAILER = "Journal"  # of a snapshot's git commit: number and hash of the newest entry
FIRST = ""  # what the first entry has as the hash before it

journal = Table(
    "journal",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("previous", Text, nullable=False),  # hash of the entry before
    Column("hash", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("operation", Text, nullable=False),  # "insert", "update", "delete" or "baseline"
    Column("content", LargeBinary, nullable=False),  # the rows: see `packed`
)

Head = tuple[int, str]  # number and hash of an entry


def covered_tables() -> list[Table]:
    """The tables whose rows are in the journal, those that others refer to first."""
    return [table for table in metadata.sorted_tables if table.info.get("journaled")]


def head(connection: Connection) -> Head | None:
    """The newest entry; None before the first."""
    newest = sa.select(journal.c.number, journal.c.hash).order_by(journal.c.number.desc())
    row = connection.execute(newest.limit(1)).first()
    return None if row is None else (row.number, row.hash)


def lock(connection: Connection) -> None:
    """Let one transaction at a time write to the chain.

    SQLite has one writer anyway. On PostgreSQL it is the lock that the triggers of migration 0008
    take, so that two transactions never hold one of two locks each. For the same reason, rows that
    several writers insert outside the journal (`pending_settlement`) are inserted under it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('hone row_counts'))"))


def insert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Add rows that all have the same columns; return them with the keys that the database made."""
    if not rows:
        return []
    lock(connection)
    made = [dict(row) for row in rows]
    key = table.autoincrement_column
    if key is not None and key.name not in made[0]:
        for row, number in zip(made, _new_keys(connection, key, len(made)), strict=True):
            row[key.name] = number
    connection.execute(sa.insert(table), made)
    append(connection, table, "insert", made, table.columns.keys())
    return made


def update(connection: Connection, table: Table, *where: Any, **values: Any) -> int:
    """Set these values in the rows of a condition; return how many there were."""
    lock(connection)
    columns = [*table.primary_key, *(table.c[name] for name in values)]
    changed = sa.update(table).where(*where).values(**values).returning(*columns)
    rows = [dict(row) for row in connection.execute(changed).mappings()]
    append(connection, table, "update", rows, [column.name for column in columns])
    return len(rows)


def update_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set in each row, known by the key in it, the other values in it; all have the same columns.

    A row that is not there is an error.
    """
    if not rows:
        return
    lock(connection)
    keys = [column.name for column in table.primary_key]
    names = [name for name in rows[0] if name not in keys]
    where = [table.c[name] == sa.bindparam(f"of_{name}") for name in keys]
    values: dict[str, Any] = {name: sa.bindparam(f"to_{name}") for name in names}
    given = [
        {f"of_{name}": row[name] for name in keys} | {f"to_{name}": row[name] for name in names}
        for row in rows
    ]
    done = connection.execute(sa.update(table).where(*where).values(**values), given)
    if done.rowcount != len(rows):
        raise LookupError(
            f"{len(rows)} rows of {table.name} were to be changed, {done.rowcount} are there: "
            "another process deleted them meanwhile; nothing was written, run it again"
        )
    append(connection, table, "update", rows, [*keys, *names])


def delete(connection: Connection, table: Table, *where: Any) -> int:
    """Delete the rows of a condition; return how many there were."""
    lock(connection)
    deleted = sa.delete(table).where(*where).returning(*table.primary_key)
    rows = [dict(row) for row in connection.execute(deleted).mappings()]
    append(connection, table, "delete", rows, [column.name for column in table.primary_key])
    return len(rows)


def append(
    connection: Connection,
    table: Table,
    operation: str,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
) -> None:
    """Add entries about these columns of these rows; the caller made the change."""
    number, previous = head(connection) or (0, FIRST)
    for part in chunks(rows, ENTRY_ROWS):
        number += 1
        entry = {
            "number": number,
            "previous": previous,
            "table_name": table.name,
            "operation": operation,
            "content": packed(table, part, names),
        }
        previous = hash_of(entry)
        connection.execute(sa.insert(journal).values(**entry, hash=previous))
        connection.info[HEAD] = {"number": number, "hash": previous}


def hash_of(entry: Mapping[str, Any]) -> str:
    """The hash of an entry: over all its other columns."""
    about = [entry[name] for name in ("number", "previous", "table_name", "operation")]
    return hashlib.sha256(json.dumps(about).encode() + entry["content"]).hexdigest()


def packed(table: Table, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bytes:
    """These columns of rows as the content of an entry: compressed JSON, column by column.

    A column that a row does not have holds the default of the database. Of bytes there is the
    SHA-256.
    """
    columns = {}
    for name in names:
        column = table.c[name]
        convert, default = converter(column), default_of(column)
        values = [row.get(name, default) for row in rows]
        columns[name] = values if convert is None else [*map(convert, values)]
    return zlib.compress(json.dumps(columns, separators=(",", ":")).encode(), 1)


def unpacked(content: bytes) -> list[dict[str, Any]]:
    """The rows of an entry."""
    columns = json.loads(zlib.decompress(content))
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def default_of(column: Column[Any]) -> Any:
    """What the database puts where a new row has no value."""
    default = column.server_default
    return json.loads(str(default.arg)) if isinstance(default, sa.DefaultClause) else None


def converter(column: Column[Any]) -> Callable[[Any], Any] | None:
    """What makes a value of this column the same before and after the database; None: it is."""
    return next((one for kind, one in _CONVERTERS.items() if isinstance(column.type, kind)), None)


def _text(value: Any) -> str | None:
    return value if value is None or type(value) is str else str(value)


def _boolean(value: Any) -> bool | None:
    if value is not None and value not in (False, True):
        raise ValueError(f"{value!r} is neither true nor false")
    return None if value is None else bool(value)


def _integer(value: Any) -> int | None:
    if value is not None and int(value) != value:
        raise ValueError(f"{value!r} is no whole number")
    return None if value is None else int(value)


def _number(value: Any) -> float | None:
    """SQLite stores NaN as NULL, and -0.0 as 0.0."""
    return None if value is None or math.isnan(value) else float(value) + 0.0


def _digest(value: bytes | None) -> str | None:
    return None if value is None else hashlib.sha256(value).hexdigest()


_CONVERTERS: dict[type, Callable[[Any], Any]] = {
    sa.Text: _text,
    sa.Boolean: _boolean,
    sa.Integer: _integer,
    sa.Float: _number,
    sa.LargeBinary: _digest,
}


def _new_keys(connection: Connection, key: Column[Any], count: int) -> Sequence[int]:
    """Keys for new rows; SQLite would give each row the one after the highest, too."""
    if connection.dialect.name == "postgresql":
        made = (
            "SELECT nextval(pg_get_serial_sequence(:table, :key)) FROM generate_series(1, :count)"
        )
        of = {"table": key.table.name, "key": key.name, "count": count}
        return connection.scalars(sa.text(made), of).all()
    last = connection.scalar(sa.select(sa.func.max(key))) or 0
    return range(last + 1, last + 1 + count)
