"""Files become samples once, whatever happens on the way."""

import hashlib
import io
import os
import resource
import shutil
import signal
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, event, select

from core import database, locks, shards
from core import files as core_files
from core.database import connect, upgrade, writing
from core.database_faults import DatabaseFault
from core.hone_toml import LabelClass
from core.images import decode_image
from core.intents import open_intents
from core.locks import LockLost, only_writer
from core.shards import read_image
from core.workspace import Workspace
from labeling.audit.checks import audit_samples_are_drawn
from labeling.audit.membership import set_key
from labeling.audit.numbers import AuditPolicy, audit_number
from labeling.ingest import files, intake, near_duplicates
from labeling.ingest.files import files_under, read_file
from labeling.ingest.intake import Intake, adopt, ingest
from labeling.ledger.tables import audit, location_of, refusals, samples, sources


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    root.mkdir()
    classes = (LabelClass("cat", "1"), LabelClass("dog", "2"))
    return Workspace(root=root, title="", purpose="", classes=classes, image_size=32)


@pytest.fixture
def engine(workspace: Workspace) -> Iterator[Engine]:
    engine = connect(workspace.database)
    upgrade(engine)
    yield engine
    engine.dispose()


def encoded(seed: int, side: int = 24) -> bytes:
    """A small PNG that looks like no other."""
    coarse = np.random.default_rng(seed).integers(256, size=(4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), 3).save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder: Path, count: int, first: int = 0) -> Path:
    for number in range(first, first + count):
        path = folder / f"class {number % 3}" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number))
    return folder


def all_rows(engine: Engine, table, *columns) -> list[tuple]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*(columns or [table])))]


def reasons(engine: Engine) -> dict[str, str]:
    found = all_rows(engine, refusals, refusals.c.path, refusals.c.reason)
    return {Path(path).name: reason for path, reason in found}


def seen(counts: Intake) -> int:
    return counts.added + counts.known + sum(counts.refused.values())


def assert_sound(engine: Engine, workspace: Workspace) -> None:
    """Every sample has its bytes, every source its sample, every file its rows."""
    with engine.connect() as connection:
        rows = connection.execute(select(samples)).all()
        assert open_intents(connection, "shard") == {}
    for row in rows:
        content = read_image(workspace.shards, location_of(row))
        assert decode_image(content).shape == (row.height, row.width, 3)
    assert {row.group_id for row in rows} <= {row.sample_id for row in rows}
    files = {path.name for path in workspace.shards.iterdir()} if rows else set()
    assert files == {row.shard for row in rows}


def state(engine: Engine) -> dict[str, object]:
    """What must be the same however often we were killed on the way."""
    return {
        "samples": sorted(
            all_rows(
                engine, samples, samples.c.sample_id, samples.c.stored_sha256, samples.c.group_id
            )
        ),
        "sources": sorted(all_rows(engine, sources, sources.c.path, sources.c.sample_id)),
        "refusals": sorted(all_rows(engine, refusals, refusals.c.path, refusals.c.reason)),
    }


def test_every_image_below_a_folder_becomes_a_sample(engine, workspace, tmp_path) -> None:
    counts = ingest(engine, workspace, [fill(tmp_path / "in", 7)])
    assert (counts.added, counts.known, counts.refused, counts.shards) == (7, 0, {}, 1)
    by_path = dict(all_rows(engine, sources, sources.c.path, sources.c.sample_id))
    assert by_path == {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "in").rglob("*.png")
    }
    assert_sound(engine, workspace)


def test_a_single_file_may_be_named(engine, workspace, tmp_path) -> None:
    fill(tmp_path / "in", 3)
    counts = ingest(engine, workspace, [tmp_path / "in" / "class 0" / "0000.png"])
    assert (counts.added, seen(counts)) == (1, 1)


def test_a_second_ingest_adds_nothing_and_reads_nothing(
    engine, workspace, tmp_path, monkeypatch
) -> None:
    fill(tmp_path / "in", 5)
    (tmp_path / "in" / "no.png").write_bytes(b"no image")
    first = ingest(engine, workspace, [tmp_path / "in"])
    before = state(engine)
    monkeypatch.setattr(files, "read_file", lambda found: pytest.fail(f"read {found.path}"))
    again = ingest(engine, workspace, [tmp_path / "in"])
    assert (again.added, again.known, again.refused) == (0, 5, {"NOT_AN_IMAGE": 1})
    assert [file.reason for file in again.refused_files] == ["NOT_AN_IMAGE"]
    assert again.refused_files == first.refused_files
    assert seen(again) == seen(first) == 6
    assert again.shards == 0
    assert state(engine) == before


def test_the_same_bytes_twice_are_one_sample_with_two_sources(engine, workspace, tmp_path) -> None:
    fill(tmp_path / "in", 2)
    (tmp_path / "in" / "copy.png").write_bytes(encoded(0))
    counts = ingest(engine, workspace, [tmp_path / "in"])
    assert (counts.added, counts.known) == (2, 1)
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "another.png").write_bytes(encoded(0))
    assert ingest(engine, workspace, [tmp_path / "late"]).known == 1
    ids = [sample_id for (sample_id,) in all_rows(engine, sources, sources.c.sample_id)]
    assert ids.count(hashlib.sha256(encoded(0)).hexdigest()) == 3
    assert len(all_rows(engine, samples)) == 2
    assert_sound(engine, workspace)


def test_a_folder_named_twice_is_read_once(engine, workspace, tmp_path) -> None:
    fill(tmp_path / "in", 4)
    counts = ingest(engine, workspace, [tmp_path / "in", tmp_path / "in" / "class 0"])
    assert (counts.added, seen(counts)) == (4, 4)


def test_what_is_refused_has_its_reason_and_the_rest_goes_on(engine, workspace, tmp_path) -> None:
    fill(tmp_path / "in", 3)
    for name, content in (
        ("empty.png", b""), ("page.jpg", b"<html></html>"), ("cut.png", encoded(9)[:-20]),
    ):  # fmt: skip
        (tmp_path / "in" / name).write_bytes(content)
    counts = ingest(engine, workspace, [tmp_path / "in"])
    assert counts.added == 3
    assert counts.refused == {"EMPTY": 1, "NOT_AN_IMAGE": 1, "TRUNCATED": 1}
    assert reasons(engine) == {
        "empty.png": "EMPTY", "page.jpg": "NOT_AN_IMAGE", "cut.png": "TRUNCATED",
    }  # fmt: skip
    assert all(detail for (detail,) in all_rows(engine, refusals, refusals.c.detail))


def test_a_file_that_changed_since_is_read_again(engine, workspace, tmp_path) -> None:
    path = fill(tmp_path / "in", 1) / "class 0" / "0000.png"
    ingest(engine, workspace, [tmp_path / "in"])
    path.write_bytes(encoded(1))
    assert ingest(engine, workspace, [tmp_path / "in"]).added == 1
    new = hashlib.sha256(encoded(1)).hexdigest()
    assert all_rows(engine, sources, sources.c.path, sources.c.sample_id) == [(str(path), new)]
    assert len(all_rows(engine, samples)) == 2


def test_a_mended_file_is_refused_no_more(engine, workspace, tmp_path) -> None:
    path = fill(tmp_path / "in", 1) / "class 0" / "0000.png"
    path.write_bytes(encoded(0)[:-9])
    assert ingest(engine, workspace, [path]).refused == {"TRUNCATED": 1}
    path.write_bytes(encoded(0))
    assert ingest(engine, workspace, [path]).added == 1
    assert all_rows(engine, refusals) == []


def test_a_file_that_was_damaged_later_is_refused_and_its_sample_stays(
    engine, workspace, tmp_path
) -> None:
    path = fill(tmp_path / "in", 1) / "class 0" / "0000.png"
    ingest(engine, workspace, [path])
    path.write_bytes(encoded(0)[:-9])
    for _ in range(2):
        assert ingest(engine, workspace, [path]).refused == {"TRUNCATED": 1}
    assert len(all_rows(engine, samples)) == len(all_rows(engine, sources)) == 1


def test_a_file_that_changes_while_it_is_read_is_taken_the_next_time(
    engine, workspace, tmp_path, monkeypatch
) -> None:
    path = fill(tmp_path / "in", 1) / "class 0" / "0000.png"
    whole, stat_of = encoded(0), os.fstat

    def with_a_writer_beside_us(descriptor: int) -> os.stat_result:
        seen = stat_of(descriptor)
        path.write_bytes(whole + b"more" if seen.st_size == len(whole) else whole)
        return seen

    with monkeypatch.context() as during:
        during.setattr(os, "fstat", with_a_writer_beside_us)
        assert ingest(engine, workspace, [path]).refused == {"CHANGED": 1}
    path.write_bytes(whole)
    assert ingest(engine, workspace, [path]).added == 1
    assert all_rows(engine, refusals) == []


@pytest.mark.parametrize("reason", ["UNREADABLE", "CHANGED"])
def test_a_refusal_that_may_have_passed_is_tried_again(
    engine, workspace, tmp_path, reason: str
) -> None:
    path = fill(tmp_path / "in", 1) / "class 0" / "0000.png"
    status = path.stat()
    row = {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    with engine.begin() as connection:
        connection.execute(refusals.insert().values(**row, reason=reason, detail="", refused_at=""))
    assert ingest(engine, workspace, [path]).added == 1
    assert all_rows(engine, refusals) == []


def test_of_the_workspace_itself_only_the_inbox_is_taken_in(engine, workspace) -> None:
    for name in ("staged", "inbox", "data"):
        (workspace.root / name).mkdir()
        (workspace.root / name / "a.png").write_bytes(encoded(len(name)))
    counts = ingest(engine, workspace, [workspace.root])
    assert all_rows(engine, sources, sources.c.path) == [(str(workspace.inbox / "a.png"),)]
    assert counts.refused == {}


def test_any_file_name_is_taken(engine, workspace, tmp_path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = [b"-rf", b"new\nline.png", b"\xff\xfe.png", b"\\xff.png", b"a" * 250]
    names += ["\u202egnp.exe".encode(), b"'; DROP TABLE samples; --", b"%s {0} $HOME"]
    for number, name in enumerate(names):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(encoded(number))
    assert ingest(engine, workspace, [folder]).added == len(names)
    assert ingest(engine, workspace, [folder]).known == len(names)
    paths = {path for (path,) in all_rows(engine, sources, sources.c.path)}
    assert len(paths) == len(names)
    assert f"{folder}/new\nline.png" in paths
    assert f"undecodable:{folder}/\\xff\\xfe.png" in paths


def test_an_empty_folder_is_nothing(engine, workspace, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    assert seen(ingest(engine, workspace, [tmp_path / "in"])) == 0
    assert not workspace.shards.exists()


def test_shards_are_cut_by_number_and_by_bytes(engine, workspace, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(intake, "SHARD_IMAGES", 4)
    assert ingest(engine, workspace, [fill(tmp_path / "in", 10)]).shards == 3
    monkeypatch.setattr(intake, "SHARD_BYTES", 1)
    assert ingest(engine, workspace, [fill(tmp_path / "more", 2, first=10)]).shards == 2
    assert_sound(engine, workspace)


def test_many_refusals_do_not_pile_up(engine, workspace, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(intake, "_FILES_AT_ONCE", 4)
    fill(tmp_path / "in", 3)
    for number in range(10):
        (tmp_path / "in" / f"{number}.txt").write_text("no image")
    counts = ingest(engine, workspace, [tmp_path / "in"])
    assert (counts.added, counts.refused) == (3, {"NOT_AN_IMAGE": 10})
    assert len(all_rows(engine, refusals)) == 10


def test_several_processes_do_what_one_does(engine, workspace, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "_CHUNK_FILES", 5)
    fill(tmp_path / "in", 23)
    (tmp_path / "in" / "no.png").write_bytes(b"no image")
    told: list[tuple[int, int]] = []
    counts = ingest(
        engine, workspace, [tmp_path / "in"], processes=2, on_progress=lambda *at: told.append(at)
    )
    assert (counts.added, counts.refused) == (23, {"NOT_AN_IMAGE": 1})
    assert told == [(5, 24), (10, 24), (15, 24), (20, 24), (24, 24)]
    with engine.connect() as connection:
        shard = connection.scalar(select(samples.c.shard).distinct())
    other = workspace.root.parent / "other"
    other.mkdir()
    alone = Workspace(other, "", "", workspace.classes, 32)
    second = connect(alone.database)
    upgrade(second)
    ingest(second, alone, [tmp_path / "in"], processes=1)
    assert [path.name for path in alone.shards.iterdir()] == [shard]
    assert state(second) == state(engine)
    second.dispose()


def test_near_duplicates_share_a_group_across_runs(engine, workspace, tmp_path) -> None:
    folder = fill(tmp_path / "in", 6)
    ingest(engine, workspace, [folder])
    with Image.open(folder / "class 1" / "0001.png") as picture:
        picture.resize((64, 64), 3).save(folder / "again.jpg", quality=90)
    ingest(engine, workspace, [folder])
    groups = dict(all_rows(engine, samples, samples.c.sample_id, samples.c.group_id))
    assert len(set(groups.values())) == 6
    one = hashlib.sha256(encoded(1)).hexdigest()
    copy = hashlib.sha256((folder / "again.jpg").read_bytes()).hexdigest()
    assert groups[one] == groups[copy] == min(one, copy)


def test_what_was_served_is_adopted_under_its_name(engine, workspace) -> None:
    received = [("p1", encoded(1)), ("p2", encoded(2)), ("p3", encoded(1)), ("p4", b"no image")]
    counts = adopt(engine, workspace, iter(received))
    assert (counts.added, counts.known, counts.refused) == (2, 1, {"NOT_AN_IMAGE": 1})
    again = adopt(engine, workspace, received)
    assert (again.added, again.known, again.refused) == (0, 3, {"NOT_AN_IMAGE": 1})
    paths = {path for (path,) in all_rows(engine, sources, sources.c.path)}
    assert paths == {"served:p1", "served:p2", "served:p3"}
    assert {origin for (origin,) in all_rows(engine, samples, samples.c.origin)} == {"served"}
    assert_sound(engine, workspace)


def test_a_served_image_that_was_ingested_stays_one_sample(engine, workspace, tmp_path) -> None:
    ingest(engine, workspace, [fill(tmp_path / "in", 1)])
    assert adopt(engine, workspace, [("p", encoded(0))]).known == 1
    assert all_rows(engine, samples, samples.c.origin) == [("ingest",)]


def test_new_groups_are_drawn_for_the_audit_as_they_come_and_join_no_second_time(
    engine, workspace, tmp_path
) -> None:
    half = AuditPolicy(share=0.5)
    with writing(engine) as connection:
        set_key(connection, b"a key")
    ingest(engine, workspace, [fill(tmp_path / "in", 12)], audit=half)
    adopt(engine, workspace, [(f"p{seed}", encoded(seed)) for seed in range(12, 20)], audit=half)
    drawn = dict(all_rows(engine, audit, audit.c.sample_id, audit.c.number))
    groups = {group for (group,) in all_rows(engine, samples, samples.c.group_id)}
    numbers = {group: audit_number(b"a key", group) for group in groups}
    assert len(groups) == 20
    assert drawn == {group: number for group, number in numbers.items() if number < 0.5}
    copies = [(f"c{seed}", encoded(seed, side=32)) for seed in range(20)]
    assert adopt(engine, workspace, copies, audit=half).added == 20
    assert {group for (group,) in all_rows(engine, samples, samples.c.group_id)} != groups
    assert dict(all_rows(engine, audit, audit.c.sample_id, audit.c.number)) == drawn
    assert [*audit_samples_are_drawn(engine, workspace)] == []


def test_a_writer_that_was_overtaken_stores_nothing(engine, workspace, tmp_path) -> None:
    with only_writer(engine, "intake") as old:
        with engine.begin() as connection:  # another process takes over while this one sleeps
            connection.exec_driver_sql("UPDATE locks SET token = token + 1 WHERE name = 'intake'")
        store = intake._Store(engine, workspace, old, origin="ingest")
        found, _ = files_under([fill(tmp_path / "in", 3)])
        store.take([read_file(file) for file in found])
        with pytest.raises(LockLost):
            store.finish()
    assert all_rows(engine, samples) == all_rows(engine, sources) == []


def noise(seed: int) -> bytes:
    """A PNG of some 270 kB."""
    rows = np.random.default_rng(seed).integers(256, size=(300, 300, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rows).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def forked(work: Callable[[], object]) -> int:
    """How `work` ended in a process of its own: 0, an exit code of its own, or minus the signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_shard_that_finds_no_room_says_so_and_nothing_is_lost(
    engine, workspace, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(intake, "SHARD_IMAGES", 5)
    folder = fill(tmp_path / "in", 5)
    for number in range(5):
        (folder / f"large {number}.png").write_bytes(noise(number))

    def with_a_limit_on_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        with pytest.raises(OSError, match=r"no room in .*/shards for a shard of 1,\d+,\d+ bytes"):
            ingest(connect(workspace.database), workspace, [folder])

    assert forked(with_a_limit_on_files) == 0
    before = len(all_rows(engine, samples))
    counts = ingest(engine, workspace, [folder])
    assert (counts.known, counts.added) == (before, 10 - before)
    assert_sound(engine, workspace)


def test_a_database_that_finds_no_room_says_so_and_nothing_is_lost(
    engine, workspace, tmp_path
) -> None:
    folder = fill(tmp_path / "in", 300)
    full = connect(workspace.database)

    @event.listens_for(full, "connect")
    def allow_no_growth(raw: sqlite3.Connection, _: object) -> None:
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(DatabaseFault, match=r"hone.sqlite did not fit on the disk"):
        ingest(full, workspace, [folder])
    full.dispose()
    assert all_rows(engine, samples) == []
    assert ingest(engine, workspace, [folder]).added == 300
    assert_sound(engine, workspace)


STORING = {
    module.__file__ for module in (intake, near_duplicates, shards, core_files, locks, database)
}


class Steps:
    """Counts what the code that stores does, call by call, and kills the process at one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.count = 0
        self.last = last

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if frame.f_code.co_filename in STORING:
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


def stepwise(workspace: Workspace, folder: Path, steps: Steps) -> None:
    engine = connect(workspace.database)
    sys.setprofile(steps)
    try:
        ingest(engine, workspace, [folder])
    finally:
        sys.setprofile(None)
        engine.dispose()


@pytest.mark.parametrize("seed", range(3))
def test_killed_anywhere_and_run_again_it_ends_as_if_nothing_had_happened(
    engine, workspace, tmp_path, monkeypatch, seed: int
) -> None:
    monkeypatch.setattr(intake, "SHARD_IMAGES", 4)
    folder = fill(tmp_path / "in", 14)
    (folder / "copy.png").write_bytes(encoded(3))
    (folder / "no.png").write_bytes(b"no image")
    with Image.open(folder / "class 1" / "0001.png") as picture:
        picture.save(folder / "z.jpg", quality=90)  # joins a group of an earlier shard
    peaceful = replace(workspace, root=tmp_path / "peaceful")
    peaceful.root.mkdir()
    other = connect(peaceful.database)
    upgrade(other)
    whole = Steps()
    stepwise(peaceful, folder, whole)
    kills = np.random.default_rng(seed).integers(whole.count // 20, whole.count // 2, size=8)
    deaths = [partial(stepwise, workspace, folder, Steps(int(at))) for at in kills]
    ends = {forked(death) for death in deaths}
    assert -signal.SIGKILL in ends
    assert ends <= {0, -signal.SIGKILL}
    ingest(engine, workspace, [folder])
    assert state(engine) == state(other)
    assert_sound(engine, workspace)
    other.dispose()


def test_a_file_that_a_killed_run_left_is_removed_and_a_strange_one_is_not(
    engine, workspace, tmp_path
) -> None:
    folder = fill(tmp_path / "in", 3)

    def die_before_the_rows_are_written(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def killed() -> None:
        pytest.MonkeyPatch().setattr(
            intake._Store, "_record_samples", die_before_the_rows_are_written
        )
        ingest(connect(workspace.database), workspace, [folder])

    assert forked(killed) == -signal.SIGKILL
    (orphan,) = workspace.shards.iterdir()
    (workspace.shards / ".x.tar.1234.part").write_bytes(b"half")
    (workspace.shards / "strange.tar").write_bytes(b"no intent of ours names it")
    (folder / "class 0" / "0000.png").unlink()  # so that the next shard is another one
    ingest(engine, workspace, [folder])
    left = {path.name for path in workspace.shards.iterdir()}
    assert orphan.name not in left
    assert {shard for (shard,) in all_rows(engine, samples, samples.c.shard)} == left - {
        "strange.tar"
    }
    assert "strange.tar" in left


def test_few_new_images_read_no_thumbnails_of_the_old_ones(engine, workspace, tmp_path) -> None:
    ingest(engine, workspace, [fill(tmp_path / "in", 30)])
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, cursor, sql, *_: statements.append(sql))
    copy = tmp_path / "late" / "copy.jpg"
    copy.parent.mkdir()
    with Image.open(next((tmp_path / "in").rglob("*.png"))) as picture:
        picture.save(copy, quality=90)
    assert ingest(engine, workspace, [copy.parent]).added == 1
    assert not [sql for sql in statements if "SELECT" in sql and "thumbnail" in sql]
    groups = Counter(group for (group,) in all_rows(engine, samples, samples.c.group_id))
    assert sorted(groups.values()) == [1] * 29 + [2]


@pytest.mark.parametrize("suffix", ["rows", "keys", "orders"])
def test_a_damaged_index_is_made_anew_and_stops_no_ingest(
    engine, workspace, tmp_path, suffix
) -> None:
    ingest(engine, workspace, [fill(tmp_path / "one", 4)])
    for path in (workspace.scores / "thumbnails").glob(f"*.{suffix}.npy"):
        path.write_bytes(path.read_bytes()[:-300] + b"\xff" * 300)
    counts = ingest(engine, workspace, [fill(tmp_path / "two", 3, first=4)])
    assert counts.added == 3
    groups = dict(all_rows(engine, samples, samples.c.sample_id, samples.c.group_id))
    assert len(set(groups.values())) == 7


def test_an_index_that_lacks_samples_is_made_anew(engine, workspace, tmp_path) -> None:
    """The database is ahead of the index: another process stored samples, or a run was killed."""
    folder = fill(tmp_path / "in", 10)
    ingest(engine, workspace, [folder / "class 0"])
    saved = tmp_path / "saved"
    shutil.copytree(workspace.scores / "thumbnails", saved)
    ingest(engine, workspace, [folder])
    shutil.rmtree(workspace.scores / "thumbnails")
    shutil.copytree(saved, workspace.scores / "thumbnails")
    copy = tmp_path / "late" / "copy.jpg"
    copy.parent.mkdir()
    with Image.open(next((folder / "class 1").glob("*.png"))) as picture:
        picture.save(copy, quality=90)
    ingest(engine, workspace, [copy.parent])
    groups = Counter(group for (group,) in all_rows(engine, samples, samples.c.group_id))
    assert sorted(groups.values()) == [1] * 9 + [2]
