"""The one relational database: SQLite in the workspace by default, PostgreSQL by address."""

import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    CompoundSelect,
    Connection,
    Engine,
    MetaData,
    Row,
    Select,
    create_engine,
    event,
    inspect,
    make_url,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DisconnectionError

from core.database_faults import LOCKED, DatabaseFault, fault_of, gone, is_away, writer_of

log = logging.getLogger(__name__)

Json = JSON(none_as_null=True)  # of every JSON column: None is NULL, not the word "null"
MIGRATIONS = Path(__file__).parent / "migrations"
PAGE = 1_000  # rows of a stream that are in memory at once
BUSY_SECONDS = 30  # how long a writer waits for another one, or for a server that restarts
QUIET_SECONDS = 2  # of these, before a person is told why nothing happens
HEAD = "journal head"  # in `Connection.info`: the newest entry of the journal, not committed yet

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def connect(url: str, head_file: Path | None = None) -> Engine:
    """An engine on `url` that waits for a while, and says so, when the database is away or locked.

    A transaction that had begun is never begun again here: whoever began it knows whether that is
    safe. An error that comes from outside is a `DatabaseFault`. Each transaction leaves the head of
    the journal in `head_file`, so that it is known outside the database, too.
    """
    address = _address(url)
    if address.get_backend_name() == "sqlite":
        engine = _connect_sqlite(url)
    else:
        engine = create_engine(address, pool_pre_ping=True)
        event.listen(engine, "do_connect", _connect_patiently)
    event.listen(engine, "handle_error", _name_fault, retval=True)
    engine.update_execution_options(head_file=head_file)
    return engine


def _address(url: str) -> URL:
    """The address, parsed; one that is none is not repeated: it may hold a password."""
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        address = None
    known = address is not None and address.get_backend_name() in ("sqlite", "postgresql")
    if address is None or not known or "@" in (address.host or ""):
        raise ValueError(
            "HONE_DATABASE_URL is no address of a database; write postgresql://user:password@host/"
            "name, and in the password %40 for @, %3A for : and %2F for /"
        ) from None
    is_postgresql = address.drivername == "postgresql"
    return address.set(drivername="postgresql+psycopg") if is_postgresql else address


def _connect_sqlite(url: str) -> Engine:
    """SQLite in WAL mode with full sync; its file is never made anew once it was there."""
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    path = Path(engine.url.database or "")
    opened: set[int] = set()  # inodes of the file

    @event.listens_for(engine, "do_connect")
    def refuse_lost_file(*_: object) -> None:
        if opened and not path.exists():
            raise gone(path)  # else SQLite would make an empty database

    @event.listens_for(engine, "connect")
    def prepare(raw: sqlite3.Connection, record: Any) -> None:
        raw.isolation_level = None  # we say BEGIN ourselves: the driver would say it too late
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            raw.execute(f"PRAGMA {pragma}")
        record.info["inode"] = path.stat().st_ino
        opened.add(path.stat().st_ino)

    @event.listens_for(engine, "checkout")
    def refuse_deleted_file(_: object, record: Any, __: object) -> None:
        if not path.exists():
            raise gone(path)  # what is written to a deleted file is lost
        if path.stat().st_ino != record.info["inode"]:
            raise DisconnectionError("the file was replaced: open the new one")

    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql("BEGIN")
    elif not _is_begun(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _is_begun(connection: Connection) -> bool:
    """Begin to write; after a short time say who stands in the way, before the long wait."""
    raw: Any = connection.connection.dbapi_connection
    raw.execute(f"PRAGMA busy_timeout = {QUIET_SECONDS * 1000:.0f}")
    try:
        raw.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == LOCKED:
            path = Path(str(connection.engine.url.database))
            log.warning(
                "waiting up to %d s for the database %s, locked by %s; end that one if it hangs",
                BUSY_SECONDS, path, writer_of(path),
            )  # fmt: skip
        return False
    finally:
        raw.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
    return True


def _connect_patiently(dialect: Any, _: object, given: Any, named: Any) -> Any:
    """A connection to a server; one that restarts is waited for, since nothing has begun yet."""
    deadline = time.monotonic() + BUSY_SECONDS
    is_announced = False
    while True:
        try:
            return dialect.connect(*given, **named)
        except dialect.loaded_dbapi.OperationalError as error:
            if not is_away(error) or time.monotonic() > deadline:
                raise
            if not is_announced:
                first = str(error).splitlines()[0]
                log.warning("waiting up to %d s for the database: %s", BUSY_SECONDS, first)
                is_announced = True
        time.sleep(0.2)


def _name_fault(context: ExceptionContext) -> DatabaseFault | None:
    if context.is_pre_ping or context.engine is None:
        return None
    return fault_of(context.engine.url, context.original_exception, context.is_disconnect)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write; on SQLite it takes the write lock at its first word."""
    with engine.execution_options(writes=True).begin() as connection:
        connection.info.pop(HEAD, None)  # of a transaction that was rolled back
        yield connection
        head = connection.info.pop(HEAD, None)
    head_file = engine.get_execution_options().get("head_file")
    if head and head_file:
        _leave_head(head_file, head)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees the whole database at one moment, whoever writes meanwhile."""
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        yield connection


def _leave_head(head_file: Path, head: dict[str, Any]) -> None:
    """Write down which entry of the journal was committed; a kill leaves an older one, or none."""
    try:
        head_file.write_text(json.dumps(head))
    except OSError as error:  # what was written in the database stays written
        log.warning("the head of the journal was not written to %s: %s", head_file, error)


def stream(connection: Connection, query: Select[Any] | CompoundSelect[Any]) -> Iterator[Row[Any]]:
    """The rows of a query, a page at a time: memory does not grow with the table."""
    yield from connection.execute(query.execution_options(yield_per=PAGE))


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest schema; nothing to do is nothing done or locked."""
    if _revision(engine) != newest_revision():
        migrate(engine)


def migrate(engine: Engine) -> None:
    """Run every migration that the database lacks."""
    from alembic import command  # takes 0.1 s of every command to import
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def newest_revision() -> str:
    """The revision of the newest migration: its file's name begins with it."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _revision(engine: Engine) -> str | None:
    """The schema that the database has; None for an empty one."""
    if not inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return None if revision is None else str(revision)


def now() -> str:
    """The moment of the call in UTC, as text that sorts in the order of time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
