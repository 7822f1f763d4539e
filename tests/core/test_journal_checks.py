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
from core.database import connect, writing
from core.journal_checks import rows_are_as_journaled, the_journal_is_whole
from core.policy_log import PolicyChange, record_policy
from core.workspace import Workspace
from tasks.context import open_context
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
    with writing(engine) as connection:
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
        "answers", "assignments", "audit", "decisions", "gold", "label_answers", "labels", "models",
        "policy_changes", "predictions", "releases", "rounds", "samples", "segments", "signals",
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
    assert len(reported) == len(columns)
    for column, what in zip(columns, reported, strict=True):
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
