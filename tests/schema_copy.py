"""Migrated SQLite databases, made by copying one that was migrated."""

import sqlite3
from contextlib import closing
from functools import cache
from typing import cast

from sqlalchemy import Engine, inspect

from core import database

run_migrations = database.migrate


def migrate(engine: Engine) -> None:
    """What `core.database.migrate` does; an empty SQLite database gets a copy of the schema."""
    if engine.dialect.name != "sqlite" or inspect(engine).get_table_names():
        run_migrations(engine)
        return
    end = engine.raw_connection()
    try:
        with closing(sqlite3.connect(":memory:")) as migrated:
            migrated.deserialize(_migrated())
            migrated.backup(cast(sqlite3.Connection, end.driver_connection))
    finally:
        end.close()


@cache
def _migrated() -> bytes:
    """The bytes of a database that went through every migration."""
    engine = database.connect("sqlite://")
    run_migrations(engine)
    end = engine.raw_connection()
    try:
        return cast(sqlite3.Connection, end.driver_connection).serialize()
    finally:
        end.close()
        engine.dispose()
