"""Each corruption of the table is named, and mended or not, as the table says."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.files import file_sha256
from core.git import git
from models.registry import bento
from models.registry.stored_entries import tag_of
from tasks import context
from tasks.operate import fsck
from tasks.operate.mend import repair
from tests.source_code import ROOT
from tests.tasks.operate.corruptions import CORRUPTIONS, Corruption, table_of_corruptions
from tests.tasks.operate.sound_workspace import make_sound_workspace

FILES = ("data", "remote/files", ".dvc/cache/files", ".dvc/config", ".dvcignore", ".gitignore",
         "hone.toml", "traffic", "bento/models", "bento/bentos")  # fmt: skip
MADE_ANEW = {"locks", "watermarks", "journal", "row_counts", "sqlite_sequence",
             "segments"}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every promise holds; each corruption is of a copy."""
    return make_sound_workspace(tmp_path_factory.mktemp("sound") / "work").root


@pytest.fixture
def root(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace; a bento is built there by copying that of the sound one."""

    def build(workspace: Any, version: str, number: str, built: Path, packages: Any) -> None:
        shutil.copytree(sound / "bento" / "bentos" / "hone" / number, built)

    monkeypatch.setattr(bento, "_build", build)
    monkeypatch.setenv("HONE_WORKSPACE", str(tmp_path / "work"))
    context._engine.cache_clear()
    return Path(shutil.copytree(sound, tmp_path / "work", symlinks=True))


@pytest.mark.parametrize("one", CORRUPTIONS, ids=lambda one: one.title)
def test_a_corruption_is_named_and_mended_as_the_table_says(one: Corruption, root: Path) -> None:
    one.prepare(root)
    whole = contents(root)
    one.damage(root)
    damaged = contents(root)
    findings = fsck.check()
    named = [each for each in findings if each.promise == one.promise and one.finding in each.what]
    assert named, findings
    assert all(each.harm and each.remedy for each in findings)
    if one.mended:
        assert repair() == []
        assert fsck.check() == []
        assert contents(root) == whole
    elif one.outcome:
        assert repair() == [] == fsck.check()
    else:
        left_alone(one, root, damaged)


def left_alone(one: Corruption, root: Path, damaged: dict[str, Any]) -> None:
    """What cannot be mended is as it was, and its finding is there."""
    try:
        repair()
    except Exception as error:
        assert str(error), "the repair ends without a sentence"
    assert contents(root) == damaged
    left = [each.what for each in fsck.check()]
    assert any((one.afterwards or one.finding) in what for what in left), left


def test_mending_a_sound_workspace_changes_nothing(root: Path, sound: Path) -> None:
    assert repair() == []
    assert contents(root) == contents(sound)


def test_what_no_copy_can_mend_is_named_by_the_repair(root: Path) -> None:
    shutil.rmtree(root / "remote")
    shutil.rmtree(root / ".dvc" / "cache")
    (root / "data" / "labels.parquet").unlink()
    left = repair()
    assert any("data/labels.parquet" in one and "is whole neither" in one for one in left), left
    assert any("put it back from a backup" in one for one in left)


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "docs" / "corruptions.md").read_text(encoding="utf-8")
    shown = page[page.index("| of what") :]
    assert shown.strip() == table_of_corruptions().strip(), (
        "write it anew: python -m tests.tasks.operate.corruptions"
    )


def test_each_corruption_has_a_name_of_its_own() -> None:
    assert not [name for name, times in Counter(c.title for c in CORRUPTIONS).items() if times > 1]
    assert len(CORRUPTIONS) >= 126


def contents(root: Path) -> dict[str, Any]:
    """What a workspace holds, beside what is counted, locked or cached."""
    paths = [path for name in FILES for path in ((root / name), *(root / name).rglob("*"))]
    known: dict[str, Any] = {
        str(path.relative_to(root)): file_sha256(path)
        for path in paths
        if path.is_file() and path.name != "model.yaml"
    }
    known |= {
        str(path.relative_to(root)): attempted(partial(tag_of, path.parent))
        for path in root.glob("bento/models/hone/*/model.yaml")
    }
    known["references"] = attempted(lambda: git(root, "for-each-ref"))
    known["database"] = attempted(lambda: _schema(root))
    for kind, name, _ in known["database"] if isinstance(known["database"], list) else ():
        if kind == "table" and name not in MADE_ANEW:
            known[f"rows of {name}"] = attempted(partial(_rows, root, name))
    return known


def attempted(read: Callable[[], Any]) -> Any:
    """What is read, or why it cannot be."""
    try:
        return read()
    except (OSError, ValueError, RuntimeError, sqlite3.DatabaseError, yaml.YAMLError) as error:
        return f"{type(error).__name__}: {error}"


def _schema(root: Path) -> Any:
    return _asked(root, "SELECT type, name, sql FROM sqlite_master ORDER BY name")


def _rows(root: Path, table: str) -> Any:
    rows = _asked(root, f"SELECT * FROM {table} ORDER BY 1")
    return [[_value(cell) for cell in row] for row in rows]


def _value(cell: Any) -> Any:
    """JSON as what it says: one number can be written in several ways."""
    return json.loads(cell) if isinstance(cell, str) and cell.startswith("{") else cell


def _asked(root: Path, query: str) -> Any:
    with closing(sqlite3.connect(f"file:{root / 'hone.sqlite'}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()
