"""A PostgreSQL that a test stops and starts, and connections that break at a chosen moment."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, event

from tasks.demo import servers

MOMENTS = "statement", "before the commit", "after the commit"


class RestartedPostgres:
    """A server in `folder`, started and stopped by `pg_ctl`."""

    def __init__(self, folder: Path) -> None:
        programs = servers.postgres_programs()
        assert programs is not None
        self._programs, self._folder = programs, folder
        self._as_whom: list[str] = []
        if os.geteuid() == 0:
            self._as_whom = ["runuser", "-u", "postgres", "--"]
            shutil.chown(folder, "postgres", "postgres")
        self._port = servers.free_port()
        self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-N", "-k")

    def start(self) -> None:
        """Start, and return when it takes connections."""
        options = f"-p {self._port} -h 127.0.0.1 -k {self._folder} -F"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop at once; every connection breaks."""
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def damage(self, database: str, relation: str) -> None:
        """Flip a bit in the middle of a table or an index on the disk."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            row = connection.execute("SELECT pg_relation_filepath(%s)", [relation]).fetchone()
        assert row is not None
        self.stop()
        path = self._folder / "state" / row[0]
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        self.start()

    def url(self, database: str) -> str:
        """The address of a database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def make(self, database: str, template: str = "template1") -> str:
        """A new database; return its address."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def terminate(self, process_id: int) -> None:
        """End one connection, as an administrator or a crash would."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [process_id])

    def _run(self, program: str, *words: str) -> None:
        command: list[str | Path] = [
            *self._as_whom,
            self._programs / program,
            "-D",
            self._folder / "state",
            *words,
        ]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)


@contextmanager
def interrupted(
    engine: Engine, server: RestartedPostgres, *, every: int, times: int, restart: bool = False
) -> Iterator[list[str]]:
    """Break what the engine does, up to `times`, after `every` statements and commits each time.

    In turn: within a transaction, before a commit, and after a commit whose answer is lost. The
    last one, with `restart`, is a stop of the whole server for as long as a start takes. Yields
    what was broken.
    """
    broken: list[str] = []
    count = 0
    commit = engine.dialect.do_commit
    lock = threading.Lock()  # a lock of ours is renewed by a thread

    def is_due(moment: str) -> bool:
        nonlocal count
        with lock:
            count += 1
            due = count >= every and moment == MOMENTS[len(broken) % len(MOMENTS)]
            if due and len(broken) < times:
                broken.append(moment)
                count = 0
                return True
            return False

    def break_it(raw: Any) -> None:
        if restart and len(broken) == times:
            broken[-1] += ", restart"
            server.stop()
            threading.Thread(target=server.start).start()
        else:
            server.terminate(raw.info.backend_pid)

    def before_statement(connection: Connection, *_: object) -> None:
        if is_due("statement"):
            break_it(connection.connection.dbapi_connection)

    def do_commit(pooled: Any) -> None:
        raw = pooled.dbapi_connection
        if is_due("before the commit"):
            break_it(raw)
        commit(pooled)
        if is_due("after the commit"):
            break_it(raw)
            raw.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    event.listen(engine, "before_cursor_execute", before_statement)
    engine.dialect.do_commit = do_commit  # type: ignore[assignment,method-assign]
    try:
        yield broken
    finally:
        event.remove(engine, "before_cursor_execute", before_statement)
        engine.dialect.do_commit = commit  # type: ignore[method-assign]


def until_done(work: Callable[[], Any], limit: int = 40) -> int:
    """Run a command again after each fault, as its message says; return how often it was run."""
    from core.database_faults import DatabaseFault

    for run in range(1, limit + 1):
        try:
            work()
        except DatabaseFault as fault:
            assert "run the command again" in str(fault)
        else:
            return run
    raise AssertionError(f"not done after {limit} runs")
