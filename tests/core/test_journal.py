"""What the functions of the journal write, and that nobody else's transaction gets between."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from core import journal
from core.database import connect, now, upgrade, writing
from core.journal_checks import rows_are_as_journaled, the_journal_is_whole
from core.workspace import Workspace
from labeling.ledger.tables import answers, labels, rounds, watermarks
from tests.labeling.databases import make_engine
from tests.labeling.ledger.random_writes import write_randomly


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, "", "", (), 8)


@pytest.fixture
def engine(workspace: Workspace) -> Iterator[Engine]:
    make_engine(workspace.root, ["a", "b"]).dispose()
    opened = connect(workspace.database, workspace.journal_head)
    yield opened
    opened.dispose()


def entries(engine: Engine) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Table, operation and rows of each entry, without those of the samples."""
    query = sa.select(journal.journal).order_by(journal.journal.c.number)
    with engine.connect() as connection:
        return [
            (row.table_name, row.operation, journal.unpacked(row.content))
            for row in connection.execute(query)
            if row.table_name != "samples"
        ]


def problems(engine: Engine, workspace: Workspace) -> list[str]:
    checks = (the_journal_is_whole, rows_are_as_journaled)
    return [finding.what for check in checks for finding in check(engine, workspace)]


def label(sample_id: str, **more: Any) -> dict[str, Any]:
    row = {"sample_id": sample_id, "label": "cat", "trust": 1, "annotators": ["ann"]}
    return {**row, "method": "single", "settled_at": "2026", **more}


def test_rows_come_back_with_the_keys_that_the_database_made(engine: Engine) -> None:
    with writing(engine) as connection:
        made = journal.insert(connection, labels, [label("a"), label("b")])
        stored = connection.execute(sa.select(labels.c.sample_id, labels.c.seq)).tuples().all()
    assert [(row["sample_id"], row["seq"]) for row in made] == stored


def test_an_entry_has_each_column_as_the_database_gives_it_back(engine: Engine) -> None:
    with writing(engine) as connection:
        trust = np.float64(1 / 3)
        journal.insert(connection, labels, [label("a", trust=trust), label("b", trust=1)])
        stored = [dict(row) for row in connection.execute(sa.select(labels)).mappings()]
    ((table, operation, rows),) = entries(engine)
    assert (table, operation, rows) == ("labels", "insert", stored)
    assert [type(row["trust"]) for row in rows] == [float, float]


def test_an_update_and_a_delete_are_recorded_by_key(engine: Engine) -> None:
    with writing(engine) as connection:
        for name in ("one", "two"):
            journal.insert(connection, watermarks, [{"name": name, "value": "1"}])
        assert journal.update(connection, watermarks, watermarks.c.name == "one", value="2") == 1
        assert journal.update(connection, watermarks, watermarks.c.name == "no", value="2") == 0
        assert journal.delete(connection, watermarks, watermarks.c.name == "two") == 1
    assert entries(engine)[2:] == [
        ("watermarks", "update", [{"name": "one", "value": "2"}]),
        ("watermarks", "delete", [{"name": "two"}]),
    ]


def test_rows_are_updated_each_to_its_own_values(engine: Engine) -> None:
    with writing(engine) as connection:
        made = journal.insert(connection, labels, [label("a"), label("b")])
        changed = [{"seq": row["seq"], "label": f"dog {row['seq']}"} for row in made]
        journal.update_rows(connection, labels, changed)
        assert list(connection.scalars(sa.select(labels.c.label))) == ["dog 1", "dog 2"]
    assert entries(engine)[1] == ("labels", "update", changed)


def test_a_row_to_update_that_is_not_there_undoes_all_of_it(
    engine: Engine, workspace: Workspace
) -> None:
    with writing(engine) as connection:
        journal.insert(connection, labels, [label("a")])
    missing = pytest.raises(LookupError, match="2 rows of labels were to be changed, 1 are there")
    with missing, writing(engine) as connection:
        changed = [{"seq": seq, "label": "dog"} for seq in (1, 9)]
        journal.update_rows(connection, labels, changed)
    assert len(entries(engine)) == 1
    assert problems(engine, workspace) == []


def test_many_rows_are_entries_of_bounded_size(
    engine: Engine, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ENTRY_ROWS", 2)
    with writing(engine) as connection:
        rows = [{"name": f"{number}", "value": ""} for number in range(5)]
        journal.insert(connection, watermarks, rows)
    assert [len(rows) for *_, rows in entries(engine)] == [2, 2, 1]
    assert problems(engine, workspace) == []


def test_a_transaction_that_is_rolled_back_leaves_no_entry_and_no_head(
    engine: Engine, workspace: Workspace
) -> None:
    with writing(engine) as connection:
        journal.insert(connection, watermarks, [{"name": "here", "value": "1"}])
    head = workspace.journal_head.read_text()
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        journal.insert(connection, watermarks, [{"name": "gone", "value": "1"}])
        raise ZeroDivisionError
    with writing(engine) as connection:
        connection.execute(sa.select(watermarks))  # leaves no head of the one before
    assert len(entries(engine)) == 1 and workspace.journal_head.read_text() == head
    assert problems(engine, workspace) == []


KILLED = """
import os, signal, sys
from core import journal
from core.database import connect, writing
from labeling.ledger.tables import watermarks
with writing(connect(sys.argv[1])) as connection:
    journal.insert(connection, watermarks, [{"name": "gone", "value": "1"}])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_inside_a_transaction_leaves_a_sound_journal(
    engine: Engine, workspace: Workspace
) -> None:
    with writing(engine) as connection:
        journal.insert(connection, watermarks, [{"name": "here", "value": "1"}])
    ended = subprocess.run([sys.executable, "-c", KILLED, workspace.database], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(entries(engine)) == 1 and problems(engine, workspace) == []
    with writing(engine) as connection:
        journal.insert(connection, watermarks, [{"name": "after", "value": "1"}])
    assert problems(engine, workspace) == []


def test_a_kill_between_commit_and_head_leaves_nothing_to_report(
    engine: Engine, workspace: Workspace
) -> None:
    with writing(engine) as connection:
        journal.insert(connection, watermarks, [{"name": "one", "value": "1"}])
    before = workspace.journal_head.read_text()
    with writing(engine) as connection:
        journal.insert(connection, watermarks, [{"name": "two", "value": "1"}])
    for left in (before, "", "{"):
        workspace.journal_head.write_text(left)
        assert problems(engine, workspace) == []


def test_two_writers_at_once_do_not_fork_the_chain(engine: Engine, workspace: Workspace) -> None:
    def write(name: str) -> None:
        mine = connect(workspace.database, workspace.journal_head)
        for number in range(25):
            with writing(mine) as connection:
                row = {"name": f"{name}-{number}", "value": str(os.getpid())}
                journal.insert(connection, watermarks, [row])
        mine.dispose()

    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(entries(engine)) == 50
    assert problems(engine, workspace) == []


@pytest.mark.parametrize("seed", range(2))
def test_after_any_writes_the_journal_leads_to_the_rows(
    engine: Engine, workspace: Workspace, seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        with writing(engine) as connection:
            write_randomly(connection, rng)
    assert problems(engine, workspace) == []


def test_a_default_of_the_database_is_what_a_missing_column_holds() -> None:
    table = journal.journal.metadata.tables["assignments"]
    assert {
        column.name: journal.default_of(column) for column in table.c if column.server_default
    } == {"blind": False, "required_annotators": 1, "asked_again": 0}
    assert journal.default_of(table.c.score) is None


@pytest.mark.parametrize(
    ("column", "value", "recorded"),
    [
        (labels.c.trust, float("nan"), None),  # SQLite stores it as NULL
        (labels.c.trust, 1, 1.0),
        (labels.c.trust, -0.0, 0.0),  # SQLite stores no sign of zero
        (rounds.c.seed, np.int64(2**40), 2**40),
        (answers.c.value, None, None),
    ],
)
def test_a_value_is_recorded_as_the_database_gives_it_back(
    column: sa.Column[Any], value: object, recorded: object
) -> None:
    convert = journal.converter(column)
    assert convert is not None
    assert repr(convert(value)) == repr(recorded)


def test_rows_that_were_there_before_the_journal_begin_it(tmp_path: Path) -> None:
    """The migration, on a database of the version before."""
    from alembic import command
    from alembic.config import Config

    from core.database import MIGRATIONS

    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0009")
        row = {"round_id": "round-0001", "number": 1, "strategy": "margin", "seed": 0}
        row |= {"config": {"a": [1, None, 0.1]}, "why": "", "chosen_at": now()}
        connection.execute(sa.insert(rounds), [row])
    upgrade(engine)
    ((table, operation, rows),) = entries(engine)
    assert (table, operation, rows[0]["config"]) == ("rounds", "baseline", {"a": [1, None, 0.1]})
    assert problems(engine, Workspace(tmp_path, "", "", (), 8)) == []
    engine.dispose()
