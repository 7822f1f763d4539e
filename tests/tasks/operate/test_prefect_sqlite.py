"""A Prefect server on SQLite does not stand still while one of its connections waits for a lock."""

import asyncio
import gc
import subprocess
import sys
import time
from pathlib import Path

import prefect.plugins
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tasks.operate import prefect_sqlite

WAIT = 2_000  # ms for which a connection waits for a lock; Prefect says 60,000


def engine_like_prefects(database: Path) -> AsyncEngine:
    """An engine with what Prefect sets on its own: WAL, a long wait and no implicit BEGIN."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")

    @sa.event.listens_for(engine.sync_engine, "connect")
    def set_up(connection, record) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA busy_timeout = {WAIT}")
        cursor.close()

    return engine


async def fail_to_write(reader: AsyncConnection, writer: AsyncConnection) -> None:
    """Let `reader` write on what it read before `writer` wrote: SQLite refuses at once."""
    await reader.exec_driver_sql("BEGIN DEFERRED")
    await reader.exec_driver_sql("SELECT * FROM rows")
    await writer.exec_driver_sql("UPDATE rows SET value = value + 1")
    try:
        await reader.exec_driver_sql("UPDATE rows SET value = 7")
    except sa.exc.OperationalError as error:
        kept: list[object] = [error]  # a cycle, which only the garbage collector frees
        kept.append(kept)
    else:
        pytest.fail("SQLite took a write on what was read before another one wrote")
    await reader.exec_driver_sql("ROLLBACK")


async def longest_stop(database: Path) -> float:
    """Seconds for which the event loop stands still while a connection waits for the lock."""
    engine = engine_like_prefects(database)
    async with engine.connect() as reader, engine.connect() as writer:
        await writer.exec_driver_sql("CREATE TABLE rows (value)")
        await writer.exec_driver_sql("INSERT INTO rows VALUES (1)")
        gc.disable()
        gc.freeze()  # what other tests left has no part in the measurement
        try:
            await fail_to_write(reader, writer)
            await writer.exec_driver_sql("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(reader.exec_driver_sql("BEGIN IMMEDIATE"))
            await asyncio.sleep(0.2)  # its thread waits for the lock now
            began = time.monotonic()
            gc.collect()
            stopped = time.monotonic() - began
        finally:
            gc.enable()
        await writer.exec_driver_sql("COMMIT")
        await asyncio.wait([waiting])  # it has the lock now, or waited in vain
        waiting.exception()
    await engine.dispose()
    return stopped


def test_the_event_loop_goes_on_while_a_connection_waits_for_the_lock(tmp_path):
    assert prefect_sqlite.__name__ in sys.modules
    assert asyncio.run(longest_stop(tmp_path / "prefect.db")) < WAIT / 2_000


def test_without_it_the_event_loop_stands_still(tmp_path):
    """Shows that the test above can fail; when it cannot any more, the module can go."""
    code = (
        "import asyncio, sys, pathlib\n"
        "sys.modules['tasks.operate.prefect_sqlite'] = type(sys)('tasks.operate.prefect_sqlite')\n"
        "from tests.tasks.operate.test_prefect_sqlite import longest_stop\n"
        "print(asyncio.run(longest_stop(pathlib.Path(sys.argv[1]))))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "prefect.db"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert float(run.stdout) > WAIT / 2_000


def test_a_prefect_server_imports_it():
    assert prefect.plugins.load_prefect_collections()["hone"] is prefect_sqlite
