"""The same promises on PostgreSQL: migrations, locks, intents."""

import multiprocessing
import random
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from core import journal
from core.database import connect, metadata, now, upgrade, writing
from core.hone_toml import LabelClass
from core.intents import begin_intent, commit_intent, open_intents
from core.journal_checks import rows_are_as_journaled, the_journal_is_whole
from core.locks import LockBusy, LockLost, fence, locks, only_writer
from core.workspace import Workspace
from labeling.ledger import overview
from labeling.ledger.pending import clear_pending, mark_pending
from labeling.ledger.tables import labels, refusals, rounds, samples, watermarks
from models.watching.outcome_checks import truths_follow_from_outcomes
from models.watching.outcome_queries import judged_counts, judged_rows, outcome_counts
from models.watching.outcomes import ClassNames, join_classes, join_waiting, make_again
from tests.core.test_database import modules_with_tables
from tests.labeling.ledger.random_writes import write_randomly
from tests.models.watching.feedback_given import CLASSES, NAMES, record, serve, truth

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
            assert list(overview.wrong_standings(connection)) == []
            assert overview.stored_counts(connection) == overview.computed_counts(connection)


def journal_problems(engine, folder: Path) -> list[str]:
    workspace = Workspace(folder, "", "", (), 8)
    checks = (the_journal_is_whole, rows_are_as_journaled)
    return [finding.what for check in checks for finding in check(engine, workspace)]


def test_the_journal_leads_to_the_rows_after_every_write_here_too(engine, tmp_path):
    rng = random.Random(1)
    for _ in range(100):
        with writing(engine) as connection:
            write_randomly(connection, rng)
    with writing(engine) as connection:
        sample_id, other = sorted(connection.scalars(select(samples.c.sample_id)))[:2]
        about = {"label": "cat", "trust": 1 / 3, "annotators": ["ann"], "method": "single"}
        about |= {"settled_at": now(), "replaced_at": now()}
        given = [{"sample_id": key, **about} for key in (sample_id, other)]
        made = journal.insert(connection, labels, given)
        keys = labels.c.seq.in_([row["seq"] for row in made])
        stored = connection.scalars(select(labels.c.sample_id).where(keys).order_by(labels.c.seq))
        assert list(stored) == [sample_id, other]
        changed = [{"seq": row["seq"], "trust": 0.1} for row in made]
        journal.update_rows(connection, labels, changed)
        with pytest.raises(LookupError, match="1 rows of labels"):
            journal.update_rows(connection, labels, [{"seq": 10**6, "trust": 0.1}])
    assert journal_problems(engine, tmp_path) == []
    with engine.begin() as connection:
        seq = made[0]["seq"]
        connection.execute(text(f"UPDATE labels SET annotators = '[1]' WHERE seq = {seq}"))
        connection.execute(text("DELETE FROM journal WHERE number = 2"))
    reported = journal_problems(engine, tmp_path)
    assert reported[0] == "journal entry 2 is gone"
    assert any('annotators is [1], recorded was ["ann"]' in what for what in reported)


def test_outcomes_are_corrected_joined_and_made_again_here_too(engine, tmp_path):
    serve(engine, ["cat", "cat"])
    record(
        engine, truth(1, "dog"), truth(1, "eel", under="later"), truth(2, "fox"), truth(3, "cat")
    )
    rng = random.Random(0)
    endless = "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(1_000))
    record(engine, truth(2, endless, "ben"))  # a key of it would be too long for an index
    record(engine, truth(2, "fox", "ben", under="later"))
    serve(engine, ["cat"], first=3)
    with writing(engine) as connection:
        assert join_waiting(connection, NAMES, after_seq=2, to_seq=3) == 1
        assert join_classes(connection, ClassNames([*CLASSES, "fox"])) == 1
    workspace = Workspace(tmp_path, "", "", tuple(LabelClass(name, "") for name in CLASSES), 8)
    for _ in range(2):
        with writing(engine) as connection:
            make_again(connection, NAMES)
        assert list(truths_follow_from_outcomes(engine, workspace)) == []
    with engine.connect() as connection:
        counts = outcome_counts(connection)
        assert (counts.judging, counts.unknown_class, counts.waiting) == (2, 1, 0)
        assert judged_counts(connection, "hone:0001-a") == {("cat", "eel"): 1, ("cat", "cat"): 1}
        assert len(judged_rows(connection, "hone:0001-a")) == 2
    assert journal_problems(engine, tmp_path) == []


def test_writers_at_once_neither_fork_the_chain_nor_wait_for_each_other(engine, postgres, tmp_path):
    def write(name: str, number: int) -> None:
        mark = {"name": f"{name}-{number}", "value": ""}
        row = {"path": f"{name}-{number}", "size": 1, "mtime_ns": 1, "detail": "", "reason": "r"}
        with writing(mine[name]) as connection:
            if name == "a":
                journal.insert(connection, watermarks, [mark])
            if number % 2:
                connection.execute(insert(refusals).values(**row, refused_at=now()))  # counted
            else:
                mark_pending(connection, {"s"})
            if name == "b":
                journal.insert(connection, watermarks, [mark])
            clear_pending(connection, {"s"})

    with writing(engine) as connection:
        place = {"shard": "x", "offset": 0, "length": 1, "stored_sha256": "", "format": "PNG"}
        about = {"width": 1, "height": 1, "thumbnail": b"", "origin": "ingest", "added_at": now()}
        sample = {"sample_id": "s", "group_id": "s", **place, **about}
        journal.insert(connection, samples, [sample])
    mine = {name: connect(postgres) for name in "ab"}
    failed = []

    def write_often(name: str) -> None:
        try:
            for number in range(30):
                write(name, number)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write_often, args=(name,)) for name in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in mine.values():
        one.dispose()
    assert failed == []
    assert journal_problems(engine, tmp_path) == []
    with engine.connect() as connection:
        assert (journal.head(connection) or (0,))[0] == 61


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
