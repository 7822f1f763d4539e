"""An SQLite database that is locked, full, read-only, damaged or gone says so; nothing is lost.

tests/system/test_database_faults.py does the same to PostgreSQL, in the middle of flows.
"""

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, insert, make_url, select, text
from sqlalchemy.exc import OperationalError

from core import database
from core.database import connect, upgrade, writing
from core.database_faults import DatabaseFault, fault_of, writer_of
from labeling.ledger.tables import watermarks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hone.sqlite"


@pytest.fixture
def engine(path: Path) -> Engine:
    engine = connect(f"sqlite:///{path}")
    upgrade(engine)
    return engine


def write(engine: Engine, name: str = "a") -> None:
    with writing(engine) as connection:
        connection.execute(insert(watermarks).values(name=name, value="1"))


def names(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(watermarks.c.name)))


HOLD = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
raw.execute("ROLLBACK")
"""


def hold(path: Path) -> "subprocess.Popen[str]":
    """Another process that holds the write lock until its input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def let_go(holder: "subprocess.Popen[str]") -> None:
    holder.communicate()


def test_a_writer_that_must_wait_says_once_for_whom_and_then_goes_on(
    engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "QUIET_SECONDS", 0.05)
    holder = hold(path)

    class LetGo(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            let_go(holder)

    handler = LetGo()
    database.log.addHandler(handler)
    try:
        write(engine)
    finally:
        database.log.removeHandler(handler)
    [message] = [record.getMessage() for record in caplog.records]
    assert f"waiting up to 30 s for the database {path}" in message
    assert f"locked by process {holder.pid} (" in message
    assert names(engine) == ["a"]


def test_a_writer_that_waited_in_vain_says_who_holds_the_database_and_what_to_do(
    engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "QUIET_SECONDS", 0.02)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    holder = hold(path)
    with pytest.raises(DatabaseFault) as fault:
        write(engine)
    let_go(holder)
    words = " ".join(f"{sys.executable} -c {HOLD}".split())[:100]
    assert str(fault.value) == (
        f"the database {path} is locked by another writer: process {holder.pid} "
        f"({words}) (database is locked): wait for it, or "
        "end it, and run the command again: what was stored is not done twice"
    )
    assert fault.value.passes
    write(engine)
    assert names(engine) == ["a"]


def test_the_command_line_prints_the_sentence_and_ends_with_1(engine: Engine, path: Path) -> None:
    engine.dispose()
    (path.parent / "hone.toml").write_text(
        'image_size = 8\n[[class]]\nname = "a"\n[[class]]\nname = "b"\n'
    )
    holder = hold(path)
    code = (
        "from core import database; database.QUIET_SECONDS = database.BUSY_SECONDS = 0.05; "
        "from flows.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--workspace", str(path.parent), "ingest"],
        capture_output=True,
        text=True,
        check=False,
    )
    let_go(holder)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    waiting, failed = done.stderr.strip().splitlines()
    assert f"for the database {path}, locked by process {holder.pid}" in waiting
    assert failed.startswith(f"hone: the database {path} is locked by another writer")


def limited(engine: Engine, pragma: str) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql(f"PRAGMA {pragma}")
        big = {"name": "big", "value": "x" * 10_000_000}
        connection.execute(insert(watermarks).values(**big))


@pytest.mark.parametrize(
    ("pragma", "words"),
    [
        ("query_only = 1", "is read-only"),
        ("max_page_count = 1", "did not fit on the disk"),
    ],
)
def test_a_write_that_is_refused_names_cause_and_remedy_and_leaves_nothing(
    engine: Engine, path: Path, pragma: str, words: str
) -> None:
    with pytest.raises(DatabaseFault, match=f"{path} {words} .*{path.parent}.* run") as fault:
        limited(engine, pragma)
    assert not fault.value.passes
    assert "INSERT" not in str(fault.value), "a statement is of no use to a person"
    engine.dispose()
    assert names(engine) == []


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        os._exit(_exit_code(work))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _exit_code(work: Callable[[], None]) -> int:
    try:
        work()
    except BaseException as error:  # whatever it is, the test reads it in the output
        print(repr(error), file=sys.stderr)
        return 1
    return 0


def test_a_file_and_a_folder_that_this_user_may_not_write_say_so(
    engine: Engine, path: Path
) -> None:
    write(engine)
    engine.dispose()
    for folder in (*list(path.parents)[:4],):
        folder.chmod(folder.stat().st_mode | 0o055)
    path.chmod(0o444)
    path.parent.chmod(0o555)

    def as_another_user() -> None:
        if os.geteuid() == 0:
            os.seteuid(65534)  # no mode keeps root from writing
        with pytest.raises(DatabaseFault, match=r"is read-only|could not be opened") as fault:
            write(connect(f"sqlite:///{path}"), "b")
        assert "let this user" in str(fault.value)

    assert forked(as_another_user) == 0
    path.parent.chmod(0o755)
    path.chmod(0o644)
    assert names(connect(f"sqlite:///{path}")) == ["a"]


def test_a_file_that_is_deleted_while_it_is_open_is_noticed_and_not_made_anew(
    engine: Engine, path: Path
) -> None:
    write(engine)
    aside = path.with_name("aside")
    path.rename(aside)
    for _ in range(2):  # first with the open connection, then with a new one
        with pytest.raises(DatabaseFault, match=f"{path} was deleted or moved while it was in use"):
            write(engine, "b")
        assert not path.exists()
        engine.dispose()
    aside.rename(path)
    write(engine, "c")
    assert names(engine) == ["a", "c"]


def test_a_file_that_is_replaced_while_it_is_open_is_opened_anew(
    engine: Engine, path: Path, tmp_path: Path
) -> None:
    write(engine)
    copy = tmp_path / "copy.sqlite"
    with sqlite3.connect(path) as raw:
        raw.execute("VACUUM INTO ?", (str(copy),))
    write(engine, "b")
    for name in ("", "-wal", "-shm"):
        Path(f"{path}{name}").unlink(missing_ok=True)
    copy.rename(path)
    write(engine, "c")
    assert names(engine) == ["a", "c"]


def test_bytes_that_are_no_database_are_named(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(DatabaseFault, match=r"is no SQLite database .*restore it from a backup"):
        upgrade(connect(f"sqlite:///{path}"))


def test_a_mistake_in_a_statement_stays_what_it_is(engine: Engine) -> None:
    with pytest.raises(OperationalError, match="no such table"), engine.connect() as connection:
        connection.execute(text("SELECT * FROM absent"))


def test_a_writer_that_is_unknown_is_another_process(tmp_path: Path) -> None:
    assert writer_of(tmp_path / "hone.sqlite") == "another process"


@pytest.mark.parametrize(
    ("state", "words", "passes"),
    [
        ("57P01", "does not answer", True),
        ("08006", "does not answer", True),
        ("25006", "is read-only", False),
        ("53100", "is out of disk space", False),
        ("53300", "takes no more connections", True),
        ("40P01", "gave way to another transaction", True),
        ("3D000", "is not there", False),
        ("28P01", "refuses this user", False),
    ],
)
def test_what_postgresql_reports_is_a_sentence_without_the_password(
    state: str, words: str, passes: bool
) -> None:
    url = make_url("postgresql+psycopg://me:secret@db.example/hone")
    error = SimpleNamespace(sqlstate=state)
    fault = fault_of(url, error, False)  # type: ignore[arg-type]
    assert fault is not None
    assert f"the database hone at db.example:5432 {words} (" in str(fault)
    assert "secret" not in str(fault)
    assert fault.passes is passes
