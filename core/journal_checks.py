"""What the journal promises, checked: the chain is whole, and the rows are as it says.

Both checks read the journal and the tables in parts; the rows that the journal leads to are put
together in a temporary database on disk, so that memory does not grow with the workspace.
"""

import json
import sqlite3
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Connection, Engine, Row, Table, select, type_coerce
from sqlalchemy.types import NullType

from core.database import reading
from core.findings import RESTORE, Finding
from core.git import git, has_commits
from core.journal import (
    FIRST,
    TRAILER,
    converter,
    covered_tables,
    default_of,
    hash_of,
    journal,
    unpacked,
)
from core.rows import KEYS_AT_ONCE, chunks
from core.workspace import Workspace

PROMISE = "I16"
NAMED = 20  # findings of one kind; the rest is counted
SHOWN = 80  # characters of a value
REWRITTEN = f"somebody wrote to the journal: {RESTORE}"


def the_journal_is_whole(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Entries that were changed, are gone or came in, also where all hashes were made anew."""
    heads = _heads_outside(workspace)  # before the journal is read: it only grows meanwhile
    with reading(engine) as connection:
        broken = _breaks(connection, heads)
        yield from _capped(broken, REWRITTEN, "other breaks of the journal")


def _breaks(connection: Connection, heads: dict[int, list[tuple[str, str]]]) -> Iterator[str]:
    number, previous = 0, FIRST
    for entry in _entries(connection):
        name = f"journal entry {entry.number} ({entry.operation} in {entry.table_name})"
        if entry.number != number + 1:
            yield f"{_entries_named(number + 1, entry.number - 1)} gone"
        elif entry.previous != previous:
            yield f"{name} does not follow entry {number}: one of the two was put there later"
        if hash_of(entry._asdict()) != entry.hash:
            yield f"{name} was changed: its hash is not that of its content"
        for place, digest in heads.pop(entry.number, ()):
            if digest != entry.hash:
                yield f"{name} was written anew: {place} has another hash of it"
        number, previous = entry.number, entry.hash
    for missing, places in sorted(heads.items()):
        for place, _ in places:
            yield f"journal entry {missing}, which {place} names, is gone; the last is {number}"


def _entries_named(first: int, last: int) -> str:
    return (
        f"journal entry {first} is" if first == last else f"journal entries {first} to {last} are"
    )


@contextmanager
def rows_on_record() -> Iterator[sqlite3.Connection]:
    """A database for the rows that the journal leads to, on disk, for as long as the block."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(sqlite3.connect(Path(folder) / "rows.sqlite", isolation_level=None)) as recorded,
    ):
        yield recorded


def rows_are_as_journaled(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Rows that were changed, dropped or put in without the journal, with what they were."""
    with rows_on_record() as recorded, reading(engine) as connection, any_text(connection):
        unreadable = replay(connection, recorded)
        for table in covered_tables():
            if table.name in unreadable:
                what = f"{table.name}: journal entry {unreadable[table.name]} cannot be read, so "
                what += "that its rows cannot be compared"
                yield Finding(PROMISE, what, REWRITTEN)
            else:
                differing = _differences(connection, recorded, table)
                yield from _capped(differing, RESTORE, f"other rows of {table.name}")


@contextmanager
def any_text(connection: Connection) -> Iterator[None]:
    """Read damaged text of SQLite, which is no UTF-8, with escapes instead of an error."""
    raw = connection.connection.dbapi_connection
    if not isinstance(raw, sqlite3.Connection):
        yield
        return
    raw.text_factory = lambda content: content.decode(errors="backslashreplace")
    try:
        yield
    finally:
        raw.text_factory = str


def _entries(connection: Connection) -> Iterator[Row[Any]]:
    query = select(journal).order_by(journal.c.number).execution_options(yield_per=10)
    yield from connection.execute(query)


def _heads_outside(workspace: Workspace) -> dict[int, list[tuple[str, str]]]:
    """What git and the workspace know of the journal: by number, the place and the hash."""
    heads: dict[int, list[tuple[str, str]]] = defaultdict(list)
    if has_commits(workspace.root):
        form = f"--format=%h %(trailers:key={TRAILER},valueonly,separator=%x20)"
        for line in git(workspace.root, "log", "--all", form).splitlines():
            commit_id, *head = line.split()
            if len(head) == 2 and head[0].isdecimal():
                heads[int(head[0])].append((f"git commit {commit_id}", head[1]))
    if workspace.journal_head.exists():
        try:
            head = json.loads(workspace.journal_head.read_text())
            heads[head["number"]].append((workspace.journal_head.name, head["hash"]))
        except (ValueError, KeyError, TypeError):  # a kill can leave an empty file
            return heads
    return heads


def _capped(problems: Iterable[str], remedy: str, rest: str) -> Iterator[Finding]:
    """The first problems, and how many more there are."""
    count = 0
    for count, what in enumerate(problems, start=1):
        if count <= NAMED:
            yield Finding(PROMISE, what, remedy)
    if count > NAMED:
        yield Finding(PROMISE, f"{rest}: {count - NAMED:,}", remedy)


def replay(connection: Connection, recorded: sqlite3.Connection) -> dict[str, int]:
    """Put the rows together that the journal leads to; name an unreadable entry of each table."""
    for statement in (
        "PRAGMA journal_mode=OFF",
        "PRAGMA synchronous=OFF",
        "CREATE TABLE rows (name TEXT, key TEXT, entry INTEGER, content TEXT, "
        "PRIMARY KEY (name, key)) WITHOUT ROWID",
    ):
        recorded.execute(statement)
    tables = {table.name: table for table in covered_tables()}
    unreadable: dict[str, int] = {}
    for entry in _entries(connection):
        if (table := tables.get(entry.table_name)) is None:
            continue
        try:
            rows = unpacked(entry.content)
            changed = {_key(table, row): row for row in rows}
        except (ValueError, KeyError, AttributeError, TypeError, zlib.error):
            unreadable.setdefault(table.name, entry.number)
            continue
        recorded.execute("BEGIN")
        for keys in chunks(list(changed)):
            _apply(recorded, entry, {key: changed[key] for key in keys})
        recorded.execute("COMMIT")
    return unreadable


def _apply(
    recorded: sqlite3.Connection, entry: Row[Any], changed: dict[str, dict[str, Any]]
) -> None:
    name = entry.table_name
    if entry.operation == "delete":
        _drop(recorded, name, changed)
        return
    known = _recorded(recorded, name, changed) if entry.operation == "update" else {}
    rows = [
        (name, key, entry.number, _text({**(known[key][1] if key in known else {}), **row}))
        for key, row in changed.items()
    ]
    recorded.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", rows)


def _recorded(
    recorded: sqlite3.Connection, name: str, keys: Iterable[str]
) -> dict[str, tuple[int, dict[str, Any]]]:
    """Of each of these rows the entry that changed it last, and what it should be."""
    given = [name, *keys]
    marks = ",".join("?" * (len(given) - 1))
    query = f"SELECT key, entry, content FROM rows WHERE name = ? AND key IN ({marks})"
    return {
        key: (entry, json.loads(content)) for key, entry, content in recorded.execute(query, given)
    }


def _drop(recorded: sqlite3.Connection, name: str, keys: Iterable[str]) -> None:
    statement = "DELETE FROM rows WHERE name = ? AND key = ?"
    recorded.executemany(statement, [(name, key) for key in keys])


def _differences(
    connection: Connection, recorded: sqlite3.Connection, table: Table
) -> Iterator[str]:
    """What differs between a table and its rows on record, in words."""
    for key, row, before, entry in differing_rows(connection, recorded, table):
        if before is None:
            yield f"{table.name} {key} was put in without the journal: {_row(row or {})}"
        elif row is None:
            yield (
                f"{table.name} {key} was dropped without the journal: {_row(before)} "
                f"was recorded (journal entry {entry})"
            )
        else:
            for name in changed_columns(table, row, before):
                was = before.get(name, default_of(table.c[name]))
                yield (
                    f"{table.name} {key} was changed without the journal: {name} is "
                    f"{_shown(row[name])}, recorded was {_shown(was)} (journal entry {entry})"
                )


def differing_rows(
    connection: Connection, recorded: sqlite3.Connection, table: Table
) -> Iterator[tuple[str, dict[str, Any] | None, dict[str, Any] | None, int]]:
    """Rows that differ from those on record: key, the row, what it should be, its journal entry.

    The row is None where it was dropped, what it should be where it was put in. The rows on record
    are dropped on the way.
    """
    raw = [type_coerce(column, NullType()).label(column.name) for column in table.c]
    query = select(*raw).execution_options(yield_per=KEYS_AT_ONCE)
    for part in connection.execute(query).mappings().partitions():
        rows = [_as_recorded(connection, table, row) for row in part]
        there = {_key(table, row): row for row in rows}
        known = _recorded(recorded, table.name, there)
        for key, row in there.items():
            entry, before = known.get(key, (0, None))
            if before is None or changed_columns(table, row, before):
                yield key, row, before, entry
        _drop(recorded, table.name, known)
    left = "SELECT key, entry, content FROM rows WHERE name = ? ORDER BY entry, key"
    for key, entry, content in recorded.execute(left, (table.name,)):
        yield key, None, json.loads(content), entry


def changed_columns(table: Table, row: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """The columns whose value is another than on record."""
    return [
        name
        for name in row
        if _text(row[name]) != _text(before.get(name, default_of(table.c[name])))
    ]


def _as_recorded(connection: Connection, table: Table, row: Any) -> dict[str, Any]:
    """A row of the database as the journal writes it; a value of a wrong type stays as it is."""
    values = {}
    for column in table.c:
        value, convert = row[column.name], converter(column)
        if isinstance(column.type, JSON) and connection.dialect.name == "sqlite":
            convert = json.loads if value is not None else None
        try:
            values[column.name] = convert(value) if convert else value
        except (TypeError, ValueError):
            values[column.name] = value
    return values


def _key(table: Table, row: dict[str, Any]) -> str:
    """The primary key as text: `name=value`."""
    return ", ".join(f"{column.name}={row[column.name]}" for column in table.primary_key)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def _row(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_shown(one)}" for name, one in values.items() if one is not None)


def _shown(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
