"""Rows put back as the journal has them: it is the second copy of every row that it covers."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Table

from core.database import writing
from core.journal import covered_tables, default_of
from core.journal_checks import (
    any_text,
    changed_columns,
    differing_rows,
    replay,
    rows_on_record,
    the_journal_is_whole,
)
from core.workspace import Workspace

Change = tuple[str, dict[str, Any] | None, dict[str, Any] | None, int]


def restore_rows(engine: Engine, workspace: Workspace) -> list[str]:
    """Undo what was changed, dropped or put in without the journal; name what it cannot undo.

    All of it is one transaction. The journal has of bytes only the SHA-256, so that a row is not
    made anew where it needs some; and nothing is undone by a journal that is itself broken.
    """
    broken = next(the_journal_is_whole(engine, workspace), None)
    if broken is not None:
        return [f"rows are not put back by a journal that is broken: {broken.what}"]
    covered = covered_tables()
    left: list[str] = []
    with rows_on_record() as recorded, writing(engine) as connection, any_text(connection):
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        replay(connection, recorded)
        changes = {table: list(differing_rows(connection, recorded, table)) for table in covered}
        for table in reversed(covered):  # rows that lead to others before these
            for _, row, before, _ in changes[table]:
                if row is not None and before is None:
                    connection.execute(sa.delete(table).where(*_is(table, row)))
        for table in covered:
            left += [_put_back(connection, table, change) for change in changes[table]]
    return [sentence for sentence in left if sentence]


def _put_back(connection: Connection, table: Table, change: Change) -> str:
    """Make a row what it was; an empty sentence when that is done."""
    key, row, before, entry = change
    if before is None:
        return ""
    names = list(before) if row is None else changed_columns(table, row, before)
    values = {name: before.get(name, default_of(table.c[name])) for name in names}
    lost = [name for name, value in values.items() if value is not None and _is_bytes(table, name)]
    if lost:
        return f"{table.name} {key}: {lost[0]} is not in the journal (entry {entry}), but its sum"
    if row is None:
        connection.execute(sa.insert(table).values(**values))
    else:
        connection.execute(sa.update(table).where(*_is(table, row)).values(**values))
    return ""


def _is_bytes(table: Table, name: str) -> bool:
    return isinstance(table.c[name].type, sa.LargeBinary)


def _is(table: Table, row: dict[str, Any]) -> list[Any]:
    return [column == row[column.name] for column in table.primary_key]
