"""The same promises on PostgreSQL: migrations, locks, intents."""

import multiprocessing
import random
from collections.abc import Iterator
from importlib import import_module

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from core.database import connect, metadata, now, upgrade, writing
from core.intents import begin_intent, commit_intent, open_intents
from core.locks import LockBusy, LockLost, fence, locks, only_writer
from labeling.ledger import overview
from labeling.ledger.tables import labels, rounds, samples, watermarks
from tests.core.test_database import modules_with_tables
from tests.labeling.ledger.random_writes import write_randomly

pytestmark = pytest.mark.system


@pytest.fixture
def engine(postgres: str) -> Iterator[Engine]:
    engine = connect(postgres)
    upgrade(engine)
    yield engine
    engine.dispose()


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(engine):
    upgrade(engine)
    for module in modules_with_tables():
        import_module(module)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_sample_has_one_label_in_force_here_too(engine):
    label = {
        "sample_id": "s", "round_id": "r", "label": "cat", "trust": 1.0, "annotators": [],
        "method": "single", "settled_at": now(),
    }  # fmt: skip
    with writing(engine) as connection:
        connection.execute(
            insert(samples).values(
                sample_id="s", shard="x", offset=2**40, length=1, stored_sha256="", format="PNG",
                width=1, height=1, thumbnail=b"\0", group_id="s", origin="ingest", added_at=now(),
            )
        )  # fmt: skip
        connection.execute(
            insert(rounds).values(
                round_id="r", number=1, strategy="", seed=2**40, config="", why="", chosen_at=now()
            )
        )
        connection.execute(insert(labels).values(**label, replaced_at=now()))
        connection.execute(insert(labels).values(**label))
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(labels).values(**label))


def test_counts_are_right_after_every_write_here_too(engine):
    rng = random.Random(0)
    for _ in range(150):
        with writing(engine) as connection:
            write_randomly(connection, rng)
        with engine.connect() as connection:
            assert overview.stored_standings(connection) == overview.computed_standings(connection)
            assert overview.stored_counts(connection) == overview.computed_counts(connection)


def test_an_overtaken_writer_is_refused_and_an_intent_is_kept(engine):
    with only_writer(engine, "git") as token:
        with writing(engine) as connection:
            assert begin_intent(connection, token, kind="k", key="a", payload={"n": 1}) == {"n": 1}
            assert begin_intent(connection, token, kind="k", key="a", payload={"n": 2}) == {"n": 1}
        with pytest.raises(LockBusy), only_writer(engine, "git", patience=0):
            pass
        with writing(engine) as connection:
            connection.execute(update(locks).values(token=token.number + 1, holder=None))
        with pytest.raises(LockLost), writing(engine) as connection:
            fence(connection, token)
    with only_writer(engine, "git") as token, writing(engine) as connection:
        commit_intent(connection, token, kind="k", key="a")
        assert open_intents(connection, "k") == {}


def count_up(url: str, times: int) -> None:
    engine = connect(url)
    for _ in range(times):
        with only_writer(engine, "git") as token:
            with engine.connect() as connection:
                value = int(connection.scalars(select(watermarks.c.value)).one())
            with writing(engine) as connection:
                fence(connection, token)
                connection.execute(update(watermarks).values(value=str(value + 1)))
    engine.dispose()


def test_processes_that_write_at_once_lose_nothing_under_the_lock(engine, postgres):
    with writing(engine) as connection:
        connection.execute(insert(watermarks).values(name="count", value="0"))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=count_up, args=(postgres, 5)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with engine.connect() as connection:
        assert connection.scalar(select(watermarks.c.value)) == "15"
