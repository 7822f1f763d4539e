"""Objects of snapshots by themselves; tests/labeling/test_snapshot.py has them in use."""

import hashlib
import json

import pytest

from core.dvc_objects import DVC_FILES, DvcObject, ObjectStore, StoreError
from core.git import commit
from core.workspace import Workspace, init_workspace

WHEN = "2026-11-21T00:00:00+00:00"


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    workspace = init_workspace(tmp_path / "ws", ["a", "b"])
    for content in (b"one", b"two"):
        name = hashlib.sha256(content).hexdigest() + ".tar"
        (workspace.shards / name).write_bytes(content)
    workspace.labels_table.write_bytes(b"table")
    return workspace


@pytest.fixture
def store(workspace):
    with ObjectStore(workspace.root) as store:
        yield store


def test_a_commit_names_its_objects_and_a_listing_comes_after_its_files(workspace, store):
    store.track()
    made = commit(workspace.root, DVC_FILES, message="m", when=WHEN)
    objects = store.objects(made)
    assert objects == store.objects_here()
    assert [known.path.split("/")[-1] for known in objects] == [
        "labels.parquet", *sorted(path.name for path in workspace.shards.iterdir()), "shards",
    ]  # fmt: skip
    assert [known.is_listing for known in objects] == [False, False, False, True]


def test_what_is_read_is_what_was_tracked(workspace, store):
    store.track()
    table = store.objects_here()[0]
    assert store.read(table) == b"table"
    workspace.labels_table.unlink()
    assert store.restore(table) == hashlib.sha256(b"table").hexdigest()
    assert workspace.labels_table.read_bytes() == b"table"


def test_an_object_that_is_nowhere_is_an_error_that_names_it(store):
    store.track()
    with pytest.raises(StoreError, match=r"data/x \(0123"):
        store.read(DvcObject("data/x", "0123" * 8))


def test_a_listing_that_leads_out_of_its_folder_is_refused(workspace, store):
    store.track()
    content = json.dumps([{"md5": "0" * 32, "relpath": "../../evil"}]).encode()
    md5 = hashlib.md5(content).hexdigest()
    cached = workspace.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / f"{md5[2:]}.dir"
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(content)
    note = workspace.root / "data" / "shards.dvc"
    note.write_text(f"outs:\n- md5: {md5}.dir\n  hash: md5\n  path: shards\n")
    with pytest.raises(ValueError, match=r"lists '\.\./\.\./evil'"):
        store.objects_here()


def test_objects_that_were_never_sent_are_problems_each_by_name(store):
    store.track()
    objects = store.objects_here()
    problems = store.problems(objects)
    assert [problem.split(" ")[0] for problem in problems] == [known.path for known in objects]
    store.publish(objects, verified=[])
    assert store.problems(objects) == []


def test_an_object_known_to_be_whole_is_sent_again_when_its_size_changed(workspace, store):
    store.track()
    objects = store.objects_here()
    store.publish(objects, verified=[])
    for path in (workspace.root / "remote").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"")
    store.publish(objects, verified=[known.md5 for known in objects])
    assert store.problems(objects) == []


def test_another_dvc_at_work_is_an_error_that_says_so(workspace, store):
    from dvc.lock import make_lock
    from dvc.repo import Repo

    Repo(str(workspace.root)).close()
    lock = make_lock(str(workspace.root / ".dvc" / "tmp" / "lock"))
    with lock, pytest.raises(StoreError, match="no other dvc command runs"):
        store.track()
