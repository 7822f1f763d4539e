import shutil
from pathlib import Path

import pytest

from core import journal
from core.access import is_open_to_others
from core.database import connect, upgrade, writing
from core.git import git
from core.locks import only_writer
from core.shards import write_shard
from core.workspace import Workspace, init_workspace
from labeling.ledger.tables import labels, samples
from labeling.snapshots.publish import cut_snapshot
from tasks import context
from tasks.operate import fsck
from tasks.operate.mend import repair
from tests.labeling.databases import make_engine


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with four samples in a shard, their labels, and a snapshot of them."""
    made = init_workspace(tmp_path / "work", ["cat", "dog"])
    ids = ["a", "b", "c", "d"]
    engine = make_engine(made.root, ids)
    places = write_shard(made.shards, [(name, name.encode()) for name in ids])
    with writing(engine) as connection:
        for name, place in zip(ids, places, strict=True):
            where = {"shard": place.shard, "offset": place.offset, "length": place.length}
            where |= {"sample_id": name, "stored_sha256": place.sha256}
            journal.update_rows(connection, samples, [where])
            given = {"sample_id": name, "label": "cat", "trust": 1.0, "annotators": []}
            given |= {"method": "import", "settled_at": "2026"}
            journal.insert(connection, labels, [given])
    with only_writer(engine, "workspace-git") as token:
        assert cut_snapshot(engine, made, token) == "snapshot-0001"
    monkeypatch.setenv("HONE_WORKSPACE", str(made.root))
    return made


def promises() -> set[str]:
    return {problem.promise for problem in fsck.check()}


def objects(workspace: Workspace) -> list[Path]:
    return sorted(path for path in (workspace.root / "remote").rglob("*") if path.is_file())


def test_nothing_is_wrong_with_a_sound_workspace(workspace: Workspace) -> None:
    assert fsck.check() == []


def test_a_workspace_that_is_open_to_others_is_named_and_closed(workspace: Workspace) -> None:
    for path in (workspace.root, workspace.root / "data", workspace.root / "hone.sqlite"):
        path.chmod(path.stat().st_mode | 0o007)
    assert promises() == {"I14"}
    assert repair() == []
    assert fsck.check() == []
    assert not [path for path in workspace.root.rglob("*") if is_open_to_others(path)]


@pytest.mark.parametrize("how", ["delete", "damage"])
def test_what_the_remote_lost_is_named_and_mended(workspace: Workspace, how: str) -> None:
    for path in objects(workspace):
        path.chmod(0o644)
        if how == "delete":
            path.unlink()
        else:
            path.write_bytes(b"x" + path.read_bytes()[1:])
    assert promises() == {"I4"}
    assert repair() == []
    assert fsck.check() == []


@pytest.mark.parametrize("how", ["delete", "damage"])
def test_a_shard_that_is_lost_here_comes_back_from_the_remote(
    workspace: Workspace, how: str
) -> None:
    shard = next(workspace.shards.glob("*.tar"))
    shard.chmod(0o644)
    if how == "delete":
        shard.unlink()
    else:
        shard.write_bytes(b"x" + shard.read_bytes()[1:])
    assert promises() == {"I3"}
    assert repair() == []
    assert fsck.check() == []


def test_a_tag_that_was_deleted_is_put_back(workspace: Workspace) -> None:
    git(workspace.root, "tag", "--delete", "snapshot-0001")
    assert "I4" in promises()
    assert repair() == []
    assert fsck.check() == []


def test_one_part_in_ruins_does_not_hide_the_others(workspace: Workspace) -> None:
    shutil.rmtree(workspace.root / ".dvc")
    next(workspace.shards.glob("*.tar")).unlink()
    assert {"I13", "I3"} <= promises()


def test_a_lost_database_is_not_replaced_by_an_empty_one(workspace: Workspace) -> None:
    for path in workspace.root.glob("hone.sqlite*"):
        path.unlink()
    with pytest.raises(ValueError, match="restore the database"):
        context.open_context()


def test_a_new_workspace_gets_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = init_workspace(tmp_path / "new", ["cat", "dog"])
    monkeypatch.setenv("HONE_WORKSPACE", str(made.root))
    assert fsck.check() == []
    upgrade(connect(made.database))
