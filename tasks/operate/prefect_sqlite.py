"""Keep a Prefect server on SQLite from standing still: close the cursor of a failed statement.

SQLAlchemy 2.0 leaves that cursor to the garbage collector, which runs in the thread of the server's
event loop as well. Freeing it waits for the mutex of its connection. While the connection waits for
the write lock itself, for up to the 60 s of Prefect's busy_timeout, the event loop stands still,
and with it the transaction that holds the lock: the whole server answers nothing for a minute, runs
are reported as crashed, and what failed meanwhile leaves the next cursors.

SQLAlchemy 2.1 closes the cursor itself, but the scheduler of Prefect 3.8 does not run on it.
Prefect imports this module when a server starts: entry point `prefect.collections`.
"""

import functools
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import aiosqlite  # of Prefect: it has no server on SQLite without it


def closed_on_failure(
    method: Callable[..., Awaitable[aiosqlite.Cursor]],
) -> Callable[..., Awaitable[aiosqlite.Cursor]]:
    """A method of a cursor that closes it, in the thread of its connection, when it fails."""

    @functools.wraps(method)
    async def wrapped(cursor: aiosqlite.Cursor, *arguments: Any) -> aiosqlite.Cursor:
        try:
            return await method(cursor, *arguments)
        except sqlite3.Error:
            await cursor.close()
            raise

    return wrapped


for name in ("execute", "executemany"):
    setattr(aiosqlite.Cursor, name, closed_on_failure(getattr(aiosqlite.Cursor, name)))
