"""The journal and the rows are damaged as no code of ours would, and the checks name what was."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from core import journal
from core.database import connect, now, writing
from core.git import git
from core.journal_checks import NAMED, rows_are_as_journaled, the_journal_is_whole
from core.locks import only_writer
from core.policy_log import PolicyChange, record_policy
from core.workspace import Workspace
from labeling.ledger.erased import erased_samples, replaced_shards
from labeling.ledger.metadata import save_metadata
from models.serving.callback_store import drain_callbacks
from models.serving.callbacks import callback_request
from models.serving.erasures import AGE, decide, retain
from models.serving.prediction_store import drain
from models.serving.retention import RetentionPolicy
from models.serving.segments import SegmentWriter
from models.watching.alerts import Alert, Kind, due_messages, raise_alert
from tasks.context import open_context
from tests.tasks.operate.sound_duel import add_ended_duel
from tests.tasks.operate.sound_workspace import make_sound_workspace

TABLES = [table.name for table in journal.covered_tables()]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a row in every covered table."""
    root = tmp_path_factory.mktemp("template") / "work"
    workspace = make_sound_workspace(root)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HONE_WORKSPACE", str(root))
        engine = open_context().engine
    add_ended_duel(engine)
    with writing(engine) as connection:
        sample_id = connection.scalar(sa.text("SELECT min(sample_id) FROM samples"))
        save_metadata(connection, {str(sample_id): {"camera": "north"}})
        raise_alert(connection, Alert("disk", Kind.DAMAGE, "full", "The disk is full", "No room."))
    with only_writer(engine, "alerts") as token:
        assert due_messages(engine, token, ["file:///nowhere"])
    recorder = SegmentWriter(workspace.traffic / "callbacks")
    asked = callback_request("https://x.example/", {"prediction_id": "7" * 32, "sample_id": "a"})
    recorder.append_parts([(json.dumps(vars(asked)).encode(), b"")])
    with only_writer(engine, "callbacks") as token:
        assert drain_callbacks(engine, token, workspace.traffic) == 1
    segment = min(workspace.traffic.glob("*.seg"))
    shutil.copy(segment, segment.with_name(f"copy-{segment.name}"))
    assert drain(engine, workspace.traffic) == 0
    policy = RetentionPolicy(random_share=0.5)
    with writing(engine) as connection:
        assert retain(connection, policy, after=0, limit=10)[1]
        decide(connection, policy, who="ann", why=AGE, after=0, last=1)
        row = {"number": 2, "sample_id": "gone", "group_id": "gone", "shard": "a.tar"}
        row |= {"offset": 512, "length": 9, "done_at": now()}
        journal.insert(connection, erased_samples, [row])
        shards = {"shard": "b.tar", "md5": "b", "successor": "a.tar", "successor_md5": "a"}
        journal.insert(connection, replaced_shards, [{**shards, "replaced_at": now()}])
    with writing(engine) as connection:  # the last entry
        record_policy(connection, PolicyChange("settling", None, {"a": 1}, "all"))
    engine.dispose()
    return workspace


@pytest.fixture
def workspace(template: Workspace, tmp_path: Path) -> Workspace:
    root = tmp_path / "work"
    shutil.copytree(template.root / ".git", root / ".git")
    for name in ("hone.sqlite", "hone.toml", "journal-head.json"):
        shutil.copy(template.root / name, root)
    return Workspace.read((root / "hone.toml").read_text(), root)


@pytest.fixture
def engine(workspace: Workspace) -> Iterator[Engine]:
    opened = connect(workspace.database)
    yield opened
    opened.dispose()


def sql(workspace: Workspace, *statements: str) -> None:
    with closing(sqlite3.connect(workspace.root / "hone.sqlite")) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement
        connection.commit()


def rows(engine: Engine, workspace: Workspace) -> list[str]:
    return [finding.what for finding in rows_are_as_journaled(engine, workspace)]


def chain(engine: Engine, workspace: Workspace) -> list[str]:
    return [finding.what for finding in the_journal_is_whole(engine, workspace)]


def other(column: sa.Column[object]) -> str:
    """SQL for another value of a column that fits its type."""
    name = f'"{column.name}"'
    if isinstance(column.type, sa.JSON):
        return """'{"other": 1}'"""
    if isinstance(column.type, sa.Boolean):
        return f"NOT {name}"
    if isinstance(column.type, sa.Integer | sa.Float):
        return f"coalesce({name}, 0) + 1000"
    return f"coalesce({name}, '') || 'x'"


def test_the_tables_that_carry_promises_are_covered(engine: Engine, workspace: Workspace) -> None:
    assert set(TABLES) == {
        "alert_messages", "alerts", "answers", "assignments", "audit", "audit_key", "callbacks",
        "decisions", "duel_samples", "duels", "erased_samples", "erasures", "gold", "halts",
        "incident_events", "incidents", "label_answers", "labels", "models", "outcomes",
        "policy_changes", "prediction_copies", "predictions", "releases", "replaced_shards",
        "retained_images", "rounds", "sample_metadata", "samples", "segments", "signals",
        "snapshots", "verdicts", "watermarks",
    }  # fmt: skip
    with engine.connect() as connection:
        for name in TABLES:
            assert connection.scalar(sa.text(f"SELECT count(*) FROM {name}")), name


def test_nothing_is_reported_of_a_sound_journal(engine: Engine, workspace: Workspace) -> None:
    assert [*chain(engine, workspace), *rows(engine, workspace)] == []


@pytest.mark.parametrize("name", [name for name in TABLES if name != "label_answers"])
def test_each_changed_column_is_named_with_what_it_was(
    engine: Engine, workspace: Workspace, name: str
) -> None:
    table = journal.journal.metadata.tables[name]
    columns = [column for column in table.c if not column.primary_key]
    with engine.connect() as connection:
        before = connection.execute(sa.select(table)).mappings().first()
    assert before is not None
    changed = ", ".join(f'"{column.name}" = {other(column)}' for column in columns)
    sql(workspace, f"UPDATE {name} SET {changed} WHERE rowid = (SELECT min(rowid) FROM {name})")
    reported = rows(engine, workspace)
    rest = len(columns) - NAMED
    if rest > 0:
        assert reported.pop() == f"other rows of {name}: {rest}"
    assert len(reported) == min(len(columns), NAMED)
    for column, what in zip(columns, reported, strict=False):
        assert what.startswith(f"{name} ") and f": {column.name} is " in what
        if isinstance(column.type, sa.Text):
            assert f"recorded was {json.dumps(before[column.name])[:40]}" in what


@pytest.mark.parametrize("name", TABLES)
def test_a_dropped_row_is_named_with_what_it_was(
    engine: Engine, workspace: Workspace, name: str
) -> None:
    sql(workspace, f"DELETE FROM {name} WHERE rowid = (SELECT min(rowid) FROM {name})")
    (what,) = rows(engine, workspace)
    assert what.startswith(f"{name} ") and "was dropped without the journal: " in what


@pytest.mark.parametrize("name", TABLES)
def test_a_row_that_was_put_in_is_named(engine: Engine, workspace: Workspace, name: str) -> None:
    columns = journal.journal.metadata.tables[name].c
    values = ", ".join(
        other(column)
        if isinstance(column.type, sa.Text | sa.Integer) and not isinstance(column.type, sa.Boolean)
        else f'"{column.name}"'
        for column in columns
    )
    sql(workspace, f"INSERT INTO {name} SELECT {values} FROM {name} LIMIT 1")
    (what,) = rows(engine, workspace)
    assert what.startswith(f"{name} ") and "was put in without the journal: " in what


LAST = "(SELECT max(number) FROM journal)"


def test_a_flipped_bit_anywhere_in_an_entry_is_named(engine: Engine, workspace: Workspace) -> None:
    with closing(sqlite3.connect(workspace.root / "hone.sqlite")) as connection:
        count = connection.execute("SELECT count(*) FROM journal").fetchone()[0]
        for number in range(1, count + 1):
            query = "SELECT * FROM journal WHERE number = ?"
            *texts, content = connection.execute(query, [number]).fetchone()
            place = number * 7 % len(content)
            flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            change = "UPDATE journal SET content = ? WHERE number = ?"
            connection.execute(change, [flipped, number])
            connection.commit()
            assert f"journal entry {number} " in chain(engine, workspace)[0], texts
            connection.execute(change, [content, number])
            connection.commit()
    assert [*chain(engine, workspace), *rows(engine, workspace)] == []


@pytest.mark.parametrize(
    "change",
    [
        "previous = replace(previous, substr(previous, 1, 1), '-')",
        "hash = replace(hash, substr(hash, 1, 1), '-')",
        "table_name = 'answers'",
        "operation = 'delete'",
    ],
)
def test_an_entry_that_was_changed_is_named(
    engine: Engine, workspace: Workspace, change: str
) -> None:
    sql(workspace, f"UPDATE journal SET {change} WHERE number = 3")
    assert "journal entry 3 (" in chain(engine, workspace)[0]
    rows(engine, workspace)  # and this check says what follows from it


def test_rows_of_an_entry_that_cannot_be_read_are_not_compared(
    engine: Engine, workspace: Workspace
) -> None:
    with engine.connect() as connection:
        number = connection.scalar(
            sa.text("SELECT max(number) FROM journal WHERE table_name = 'answers'")
        )
    sql(workspace, f"UPDATE journal SET content = x'00' WHERE number = {number}")
    (what,) = rows(engine, workspace)
    assert what == (
        f"answers: journal entry {number} cannot be read, so that its rows cannot be compared"
    )


def test_an_entry_dropped_in_the_middle_is_named(engine: Engine, workspace: Workspace) -> None:
    sql(workspace, "DELETE FROM journal WHERE number IN (4, 5)")
    assert chain(engine, workspace) == ["journal entries 4 to 5 are gone"]


def test_the_last_entry_dropped_with_its_rows_is_named(
    engine: Engine, workspace: Workspace
) -> None:
    sql(
        workspace,
        "DELETE FROM policy_changes",
        f"DELETE FROM journal WHERE number = {LAST} AND table_name = 'policy_changes'",
    )
    assert rows(engine, workspace) == []
    (what,) = chain(engine, workspace)
    assert "which journal-head.json names, is gone; the last is " in what


def rewrite(workspace: Workspace, *statements: str) -> None:
    """Change rows and entries, and make all hashes anew, as somebody who knows how would."""
    with closing(sqlite3.connect(workspace.root / "hone.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        for statement in statements:
            connection.execute(statement)
        previous, made = journal.FIRST, list[dict[str, object]]()
        for row in connection.execute("SELECT * FROM journal ORDER BY number"):
            entry = {**dict(row), "number": len(made) + 1, "previous": previous}
            previous = journal.hash_of(entry)
            made.append({**entry, "hash": previous})
        connection.execute("DELETE FROM journal")
        connection.executemany(
            "INSERT INTO journal VALUES "
            "(:number, :previous, :hash, :table_name, :operation, :content)",
            made,
        )
        connection.commit()


def test_a_chain_that_was_written_anew_is_seen_by_the_head_in_a_snapshots_commit(
    engine: Engine, workspace: Workspace
) -> None:
    rewrite(workspace)
    assert chain(engine, workspace) == []  # the same rows give the same hashes
    workspace.journal_head.unlink()
    rewrite(
        workspace,
        "DELETE FROM gold",
        "DELETE FROM journal WHERE table_name = 'gold'",
    )
    assert rows(engine, workspace) == []
    (what,) = chain(engine, workspace)
    commit_id = git(workspace.root, "rev-parse", "--short", "snapshot-0001")
    assert f"git commit {commit_id} has another hash of it" in what


def test_only_the_first_of_many_findings_are_listed(engine: Engine, workspace: Workspace) -> None:
    with writing(engine) as connection:
        watermarks = journal.journal.metadata.tables["watermarks"]
        made = [{"name": f"n{number}", "value": "1"} for number in range(50)]
        journal.insert(connection, watermarks, made)
    sql(workspace, "UPDATE watermarks SET value = '2' WHERE name LIKE 'n%'")
    reported = rows(engine, workspace)
    assert len(reported) == 21 and reported[-1] == "other rows of watermarks: 30"


def test_a_value_of_another_type_is_named(engine: Engine, workspace: Workspace) -> None:
    sql(
        workspace,
        "UPDATE labels SET trust = 'high', annotators = '{broken' WHERE seq = 1",
        "UPDATE assignments SET blind = 'x', position = 1.5 WHERE position = 1",
        "UPDATE samples SET thumbnail = 'text' WHERE sample_id = 'a'",
    )
    named = [
        what.split(" was changed")[0] + what.split(": ")[1] for what in rows(engine, workspace)
    ]
    assert [what.split(" is ")[0] for what in named] == [
        "samples sample_id=athumbnail",
        "assignments round_id=round-0001, sample_id=bposition",
        "assignments round_id=round-0001, sample_id=bblind",
        "labels seq=1trust",
        "labels seq=1annotators",
    ]
