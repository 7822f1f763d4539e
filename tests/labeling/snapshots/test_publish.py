"""Snapshots in a real workspace: real git, real DVC, real kills."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import delete, select, update

from core.database import writing
from core.dvc_objects import ObjectStore, StoreError
from core.git import git, tags
from core.intents import intents, open_intents
from core.locks import LockLost, locks, only_writer
from core.workspace import init_workspace
from labeling.formats.exports import export_snapshot
from labeling.ledger.tables import labels, snapshots
from labeling.snapshots import publish
from labeling.snapshots.publish import (
    cut_snapshot,
    fetch_shards,
    list_snapshots,
    verify_remote,
    why_soft,
)
from tests.labeling.snapshots.workspaces import (
    House,
    cut_and_die,
    house_at,
    in_a_child,
    kill_and_run_again,
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = house_at(tmp_path / "ws")
    yield house
    house.engine.dispose()


def test_a_snapshot_is_a_tag_a_row_and_a_table_that_training_can_read(house):
    assert house.cut() == "snapshot-0001"
    assert house.load("snapshot-0001")["sample_id"].tolist() == ["s0000", "s0001"]
    row = list_snapshots(house.engine).iloc[0]
    assert (row["name"], row["number"], row["rows"]) == ("snapshot-0001", 1, 2)
    assert tags(house.root) == {"snapshot-0001": row["commit"]}
    assert verify_remote(house.workspace, "snapshot-0001") == []
    with house.engine.connect() as connection:
        assert open_intents(connection, "snapshot") == {}


def test_without_a_label_there_is_no_snapshot(house):
    with writing(house.engine) as connection:
        connection.execute(delete(labels))
    assert house.cut() is None


def test_the_same_content_twice_is_one_snapshot(house):
    assert house.cut() == "snapshot-0001"
    assert house.cut() is None
    assert list(tags(house.root)) == ["snapshot-0001"]


def test_labels_that_changed_and_changed_back_are_no_new_snapshot(house):
    house.cut()
    house.label("s0000", value="dog")
    house.label("s0000", value="cat")
    with writing(house.engine) as connection:
        connection.execute(update(labels).values(settled_at="2031-01-01"))
    assert house.cut() is None


def test_a_changed_label_makes_a_new_snapshot_and_leaves_the_old_one_as_it_was(house):
    house.cut()
    before = house.load("snapshot-0001")
    house.ingest()
    house.label("s0000", "s0003", value="dog")
    assert house.cut() == "snapshot-0002"
    pd.testing.assert_frame_equal(house.load("snapshot-0001"), before)
    now_labelled = house.load("snapshot-0002").set_index("sample_id")["label"].to_dict()
    assert now_labelled == {"s0000": "dog", "s0001": "cat", "s0003": "dog"}


def test_a_fresh_clone_can_pull_a_snapshot_with_plain_git_and_dvc(house, tmp_path):
    house.cut()
    shards = {path.name: path.read_bytes() for path in house.workspace.shards.iterdir()}
    table = house.workspace.labels_table.read_bytes()
    house.ingest()
    house.label("s0003")
    house.cut()
    clone = tmp_path / "clone"
    subprocess.run(
        ["git", "clone", "-q", "-b", "snapshot-0001", str(house.root), str(clone)],
        check=True, capture_output=True,
    )  # fmt: skip
    place = f"['remote \"storage\"']\n    url = {house.root / 'remote'}\n"
    (clone / ".dvc" / "config.local").write_text(place)
    from dvc.repo import Repo

    with Repo(str(clone)) as repo:
        repo.pull()
        assert repo.push() == 0
    assert (clone / "data" / "labels.parquet").read_bytes() == table
    pulled = {path.name: path.read_bytes() for path in (clone / "data" / "shards").iterdir()}
    assert pulled == shards


def test_an_unknown_snapshot_is_an_error_that_names_those_there_are(house):
    house.cut()
    with pytest.raises(ValueError, match="'snapshot-9' is no snapshot; there are: snapshot-0001"):
        house.load("snapshot-9")


def test_a_moved_tag_is_an_error_that_says_how_to_put_it_back(house):
    house.cut()
    git(house.root, "commit", "--allow-empty", "-qm", "x")
    git(house.root, "tag", "--force", "snapshot-0001", "HEAD")
    with pytest.raises(ValueError, match="git tag --force snapshot-0001"):
        house.load("snapshot-0001")


def test_a_table_that_is_not_the_frozen_one_is_an_error_with_both_digests(house: House) -> None:
    house.cut()
    with writing(house.engine) as connection:
        frozen = connection.scalar(select(snapshots.c.table_sha256))
        connection.execute(update(snapshots).values(table_sha256="0" * 64))
    with pytest.raises(ValueError, match=f"SHA-256 {frozen}, {'0' * 64} was frozen"):
        house.load("snapshot-0001")


def test_what_else_is_changed_in_the_workspace_stays_out_of_the_snapshot(house):
    (house.root / "notes.txt").write_text("mine")
    git(house.root, "add", "notes.txt")
    house.cut()
    assert "notes.txt" not in git(house.root, "ls-tree", "-r", "--name-only", "snapshot-0001")
    assert git(house.root, "status", "--porcelain", "--", "notes.txt") == "A  notes.txt"


def test_on_a_detached_head_a_snapshot_is_still_cut(house):
    house.cut()
    git(house.root, "checkout", "--quiet", "--detach")
    house.label("s0002")
    assert house.cut() == "snapshot-0002"
    assert len(house.load("snapshot-0002")) == 3


def test_guesses_are_frozen_marked_and_told_why_and_never_exported(house, tmp_path):
    told = {"label": "cat", "trust": 0.9, "source": "propagation-1", "probs": '{"cat": 0.9}'}
    soft = pd.DataFrame([{"sample_id": "s0002", **told}])
    house.cut()
    with only_writer(house.engine, "workspace-git") as token:
        cut = partial(cut_snapshot, house.engine, house.workspace, token, soft=soft)
        assert cut(why="they help") == "snapshot-0002"
        assert cut(why="they help") is None
    rows = house.load("snapshot-0002").set_index("sample_id")["split"].to_dict()
    assert rows == {"s0000": "train", "s0001": "train", "s0002": "soft"}
    with house.engine.connect() as connection:
        reasons = [why_soft(connection, f"snapshot-000{number}") for number in (1, 2, 3)]
    assert reasons == ["", "they help", ""]
    options = {"format": "csv", "target": tmp_path / "out", "images": False}
    assert export_snapshot(house.engine, house.workspace, **options) == 2
    assert house.cut() == "snapshot-0003"  # without them it is another one


# What DVC does not see: objects that are damaged or gone.


def damage(path: Path) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    path.chmod(mode)


def test_an_object_that_went_missing_on_the_remote_is_sent_again_by_the_next_snapshot(house):
    house.cut()
    objects = house.remote
    for gone in objects:
        if not gone.name.endswith(".dir"):
            gone.unlink()
    assert len(verify_remote(house.workspace, "snapshot-0001")) == 2
    (lost_table,) = [name for name in _md5s(house, "snapshot-0001") if "labels" in name]
    house.label("s0002")
    house.cut()
    assert verify_remote(house.workspace, "snapshot-0002") == []
    left = verify_remote(house.workspace, "snapshot-0001")
    assert [lost_table in problem for problem in left] == [True]


def _md5s(house: House, name: str) -> list[str]:
    with ObjectStore(house.root) as store:
        return [f"{known.path} ({known.md5})" for known in store.objects(tags(house.root)[name])]


def test_a_damaged_object_on_the_remote_is_named(house):
    house.cut()
    for path in house.remote:
        damage(path)
    assert len(verify_remote(house.workspace, "snapshot-0001")) == 3


def test_a_damaged_new_object_on_the_remote_is_replaced_before_the_tag(house):
    with ObjectStore(house.root) as store:
        house.workspace.labels_table.write_bytes(b"not yet")
        store.track()
        store.publish(store.objects_here(), verified=[])
    for path in house.remote:
        damage(path)
    house.cut()
    assert verify_remote(house.workspace, "snapshot-0001") == []


def test_a_damaged_cache_is_not_published(house):
    with ObjectStore(house.root) as store:
        house.workspace.labels_table.write_bytes(b"not yet")
        store.track()
    for path in (house.root / ".dvc" / "cache").rglob("*"):
        if path.is_file():
            damage(path)
    house.cut()
    assert verify_remote(house.workspace, "snapshot-0001") == []


def test_a_damaged_cache_is_not_read(house):
    house.cut()
    for path in (house.root / ".dvc" / "cache").rglob("*"):
        if path.is_file():
            damage(path)
    assert len(house.load("snapshot-0001")) == 2


def test_with_cache_and_remote_gone_the_error_names_the_object_and_both_places(house):
    house.cut()
    shutil.rmtree(house.root / ".dvc" / "cache")
    shutil.rmtree(house.root / "remote")
    with pytest.raises(StoreError, match=r"labels|shards.*cache.*remote"):
        house.load("snapshot-0001")


def test_missing_and_damaged_shards_are_brought_back(house):
    house.ingest()
    house.cut()
    first, second = sorted(house.workspace.shards.iterdir())
    good = first.read_bytes(), second.read_bytes()
    first.unlink()
    damage(second)
    shutil.rmtree(house.root / ".dvc" / "cache")
    assert fetch_shards(house.engine, house.workspace, "snapshot-0001") == [first.name, second.name]
    assert (first.read_bytes(), second.read_bytes()) == good
    assert fetch_shards(house.engine, house.workspace, "snapshot-0001") == []


def test_a_shard_that_was_lost_or_damaged_here_is_whole_in_the_next_snapshot(house):
    house.ingest()
    house.cut()
    first, second = sorted(house.workspace.shards.iterdir())
    first.unlink()
    damage(second)
    house.label("s0002")
    house.cut()
    assert fetch_shards(house.engine, house.workspace, "snapshot-0002") == []
    shards = [name for name in _md5s(house, "snapshot-0002") if ".tar" in name]
    assert shards == [name for name in _md5s(house, "snapshot-0001") if ".tar" in name]


def test_a_shard_that_is_being_written_just_now_is_left_alone_and_left_out(house):
    (house.workspace.shards / ".x.tar.1234.part").write_bytes(b"half")
    house.cut()
    assert not [name for name in _md5s(house, "snapshot-0001") if "part" in name]
    assert (house.workspace.shards / ".x.tar.1234.part").exists()


def test_a_shard_damaged_before_it_was_ever_published_stops_the_snapshot(house):
    (shard,) = house.workspace.shards.iterdir()
    damage(shard)
    with pytest.raises(ValueError, match="ingest its images again"):
        house.cut()
    assert tags(house.root) == {}


def test_a_remote_that_cannot_be_written_leaves_nothing_visible_and_says_so(house):
    (house.root / "remote").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"remote .*run the command again"):
        house.cut()
    assert tags(house.root) == {}
    assert list_snapshots(house.engine).empty
    (house.root / "remote").unlink()
    assert house.cut() == "snapshot-0001"


# Two writers, dead writers.


def test_a_writer_that_was_overtaken_is_refused_before_it_commits(house):
    with only_writer(house.engine, "workspace-git") as token:
        with writing(house.engine) as connection:
            connection.execute(update(locks).values(token=token.number + 1))
        with pytest.raises(LockLost):
            cut_snapshot(house.engine, house.workspace, token)
    assert git(house.root, "rev-list", "--count", "HEAD") == "1"
    assert tags(house.root) == {}


@pytest.mark.parametrize(
    ("last", "on_remote"), [("commit", False), ("publish", True)], ids=["commit", "push"]
)
def test_a_writer_that_was_overtaken_later_is_refused_before_its_next_step(
    house: House, monkeypatch: pytest.MonkeyPatch, last: str, on_remote: bool
) -> None:
    where: Any = publish if last == "commit" else ObjectStore
    step = getattr(where, last)

    def overtaken_after(*given: Any, **options: Any) -> Any:
        outcome = step(*given, **options)
        with writing(house.engine) as connection:
            connection.execute(update(locks).values(token=locks.c.token + 1))
        return outcome

    monkeypatch.setattr(where, last, overtaken_after)
    with pytest.raises(LockLost):
        house.cut()
    assert bool(house.remote) == on_remote
    assert tags(house.root) == {}
    assert list_snapshots(house.engine).empty


def test_what_killed_tools_left_locked_or_half_written_does_not_stop_the_next_run(house):
    house.cut()
    house.label("s0002")
    (house.root / ".git" / "index.lock").touch()
    (house.root / ".git" / "refs" / "heads" / "main.lock").touch()
    (house.root / ".dvc" / "tmp" / "rwlock").write_text('{"read": ')
    (house.root / "data" / "shards.dvc").write_text("outs:\n- md5")
    (house.root / "data" / "labels.parquet.dvc").write_text("")
    assert house.cut() == "snapshot-0002"


@pytest.mark.parametrize(
    "at",
    [
        "after begin_intent",
        "after _add",
        "after git commit",
        "before git tag",
        "before commit_intent",
    ],
)
def test_killed_between_two_steps_and_run_again_a_snapshot_ends_the_same(house, tmp_path, at):
    house.second()
    _, whole = kill_and_run_again(house, tmp_path / "whole", "never")
    ended, left = kill_and_run_again(house, tmp_path / "killed", at)
    assert ended == signal.SIGKILL
    assert left == whole


@pytest.mark.parametrize(("at", "visible"), [("before git tag", False), ("after git tag", True)])
def test_answers_that_come_between_kill_and_rerun_never_change_a_name(house, at, visible):
    house.engine.dispose()
    assert in_a_child(lambda: cut_and_die(house.root, at)) == signal.SIGKILL
    assert ("snapshot-0001" in tags(house.root)) == visible
    house.label("s0002")
    assert house.cut() == "snapshot-0002"
    names = list_snapshots(house.engine)["name"].tolist()
    assert names == (["snapshot-0001", "snapshot-0002"] if visible else ["snapshot-0002"])
    assert [len(house.load(name)) for name in names] == ([2, 3] if visible else [3])
    with house.engine.connect() as connection:
        query = select(intents.c.key, intents.c.outcome)
        outcomes = dict(connection.execute(query).tuples().all())
    assert outcomes["snapshot-0002"] == "done"
    assert outcomes["snapshot-0001"].split(":")[0] == ("done" if visible else "discarded")


def test_a_user_who_checked_out_an_old_snapshot_does_not_lose_shards(house):
    house.cut()
    house.ingest()
    house.label("s0003")
    house.cut()
    everything = sorted(path.name for path in house.workspace.shards.iterdir())
    git(house.root, "checkout", "--quiet", "snapshot-0001")
    from dvc.repo import Repo

    with Repo(str(house.root)) as repo:
        repo.checkout()
    assert len(list(house.workspace.shards.iterdir())) == 1
    house.label("s0004")
    assert house.cut() == "snapshot-0003"
    assert sorted(path.name for path in house.workspace.shards.iterdir()) == everything


def test_the_same_ledger_in_another_workspace_gives_the_same_bytes(house, tmp_path):
    house.cut()
    sums = _md5s(house, "snapshot-0001")
    house.engine.dispose()
    other = tmp_path / "other"
    init_workspace(other, ["cat", "dog"])
    shutil.copy(house.root / "hone.sqlite", other)
    shutil.copytree(house.workspace.shards, other / "data" / "shards", dirs_exist_ok=True)
    moved = house_at(other)
    with writing(moved.engine) as connection:
        connection.execute(delete(snapshots))
        connection.execute(delete(intents))
    moved.cut()
    assert _md5s(moved, "snapshot-0001") == sums
