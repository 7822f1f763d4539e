"""Connections, transactions and migrations on SQLite; tests/system has the same on PostgreSQL."""

import re
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Engine, Integer, Text, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from core.database import MIGRATIONS, connect, metadata, newest_revision, now, upgrade, writing
from core.locks import locks
from labeling.ledger.tables import snapshots, sources, watermarks


@pytest.fixture(scope="module", autouse=True)
def copied_schema() -> None:
    """None here: each database goes through the migrations."""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    return engine


def modules_with_tables() -> list[str]:
    """The modules of the source that declare a table."""
    root = Path(__file__).parents[2]
    paths = [
        path
        for package in ("core", "labeling", "models")
        for path in (root / package).rglob("*.py")
    ]
    declare = [
        path for path in paths if re.search(r"^\w+ = Table\(", path.read_text(), re.MULTILINE)
    ]
    return [".".join(path.relative_to(root).with_suffix("").parts) for path in sorted(declare)]


def differs(
    _context: object, _inspected: object, _column: object, here: Any, ours: Any
) -> bool | None:
    """Whether a column has another type; SQLite keeps JSON as text, whatever it was declared as."""
    return False if isinstance(here, Text) and isinstance(ours, JSON) else None


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(engine):
    for module in modules_with_tables():
        import_module(module)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": differs})
        assert compare_metadata(context, metadata) == []


def test_the_newest_revision_is_that_of_alembic() -> None:
    assert newest_revision() == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def test_a_database_at_the_newest_schema_is_not_locked_to_open_it(engine):
    with writing(engine):
        upgrade(connect(str(engine.url)))


def test_upgrading_twice_is_upgrading_once(engine):
    with writing(engine) as connection:
        connection.execute(insert(watermarks).values(name="a", value="1"))
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalars(select(watermarks.c.value)).all() == ["1"]


def test_sqlite_keeps_a_log_syncs_and_checks_foreign_keys(engine):
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000,
    }  # fmt: skip
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(
            insert(sources).values(path="a", sample_id="none", size=1, mtime_ns=1, seen_at=now())
        )


def test_a_transaction_that_fails_leaves_nothing(engine):
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        connection.execute(insert(watermarks).values(name="a", value="1"))
        raise ZeroDivisionError
    with engine.connect() as connection:
        assert connection.execute(select(watermarks)).all() == []


def test_writers_at_once_wait_for_each_other_and_none_is_lost(engine):
    with writing(engine) as connection:
        connection.execute(insert(watermarks).values(name="count", value="0"))

    def count() -> None:
        for _ in range(20):
            with writing(engine) as connection:
                value = connection.scalars(select(watermarks.c.value).with_for_update()).one()
                connection.execute(watermarks.update().values(value=str(int(value) + 1)))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert connection.scalar(select(watermarks.c.value)) == "80"


def test_a_reader_sees_one_moment_while_others_write(engine):
    with engine.connect() as reader:
        before = reader.scalar(text("SELECT count(*) FROM watermarks"))
        with writing(engine) as connection:
            connection.execute(insert(watermarks).values(name="a", value="1"))
        assert reader.scalar(text("SELECT count(*) FROM watermarks")) == before == 0


def test_two_snapshots_cannot_have_one_number(engine):
    row = {"number": 1, "fingerprint": "", "table_sha256": "", "rows": 1, "commit": "", "seed": 0}
    with pytest.raises(IntegrityError), writing(engine) as connection:
        for name in ("snapshot-0001", "other"):
            connection.execute(insert(snapshots).values(name=name, created_at=now(), **row))


def test_times_as_text_sort_in_the_order_of_time():
    moments = [now() for _ in range(200)]
    assert moments == sorted(moments)
    assert {len(moment) for moment in moments} == {32}


def test_no_table_holds_a_plain_integer_where_numbers_grow_past_two_billion(engine):
    assert isinstance(locks.c.token.type, Integer)
    columns = inspect(engine).get_columns("samples")
    types = {column["name"]: str(column["type"]) for column in columns}
    assert (types["offset"], types["length"]) == ("BIGINT", "BIGINT")
