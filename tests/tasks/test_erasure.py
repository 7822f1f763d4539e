"""Samples that nobody answered are erased everywhere, and what rests on the others goes on."""

import pkgutil
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.errors import HoneError
from core.locks import only_writer
from core.shards import read_image
from labeling.ingest.checks import shards_are_of_samples
from labeling.ledger.erased import erased_samples, replaced_shards
from labeling.ledger.overview import ledger_counts
from labeling.ledger.rounds import load_pool
from labeling.ledger.tables import location_of
from labeling.snapshots.checks import erased_samples_are_gone
from labeling.snapshots.publish import cut_snapshot, fetch_shards, load_snapshot
from models.serving.erasures import erasures
from tasks.context import Context
from tasks.erasure import erase_named
from tasks.operate import fsck
from tasks.operate.mend import repair
from tasks.retention import erase_images
from tests.models.saved_models import png
from tests.tasks.erasable_workspace import (
    FRESH,
    GUESSED,
    LABELLED,
    PLAIN,
    make_erasable_workspace,
    objects_of,
    open_at,
    places_of,
    sample_ids,
    take_in,
)

ERASED = (2, 3, 4)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("erasable") / "work"
    make_erasable_workspace(root)
    return root


@pytest.fixture
def ctx(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    shutil.copytree(template, tmp_path / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(tmp_path / "work"))
    return open_at(tmp_path / "work")


def problems(ctx: Context) -> list[str]:
    """What fsck reports, but that no model is here of those that served."""
    reported = [f"{one.promise} {one.what}" for one in fsck.check()]
    return [what for what in reported if "is not in models" not in what]


def test_samples_that_nobody_answered_in_time_are_gone_everywhere(ctx: Context) -> None:
    root = ctx.workspace.root
    before = load_snapshot(ctx.engine, ctx.workspace, "snapshot-0001")
    assert set(before["sample_id"]) == {*LABELLED, *GUESSED}
    assert all(len(places_of(ctx, png(number))) >= 3 for number in ERASED), "shard, cache, remote"
    assert erase_images(ctx, "ann") == {"sample age": 3}
    assert [places_of(ctx, png(number)) for number in ERASED] == [[], [], []]
    assert sample_ids(ctx) == {*LABELLED, FRESH}
    after = load_snapshot(ctx.engine, ctx.workspace, "snapshot-0001")
    assert set(after["sample_id"]) == set(LABELLED)
    for row in after.itertuples():
        number = LABELLED.index(str(row.sample_id))
        assert read_image(ctx.workspace.shards, location_of(row)) == png(number)
    with ctx.engine.connect() as connection:
        [traffic, erasure] = connection.execute(select(erasures)).all()
        [replaced] = connection.execute(select(replaced_shards)).all()
        assert len(load_pool(connection)) == ledger_counts(connection).pool == 1
    assert (erasure.who, erasure.why, erasure.images) == ("ann", "sample age", 3)
    assert erasure.rule["sample_days"] == 30 and erasure.done_at and traffic.done_at
    assert f"data/shards/{replaced.shard}" in objects_of(root), "git keeps what it had"
    assert problems(ctx) == []
    assert erase_images(ctx, "ann") == {}, "nothing is erased twice"


class Killed(BaseException):
    """In the place of a kill."""


ACTS = (
    "tasks.erasure.erased.forget_samples", "tasks.erasure.erasures.carry_out",
    "tasks.erasure.drop_index", "labeling.snapshots.replaced.begin_intent",
    "labeling.snapshots.replaced.write_atomically", "core.erased_objects.ErasingStore._send",
    "core.erased_objects.ErasingStore.hold", "labeling.snapshots.replaced._record",
    "core.erased_objects.ErasingStore.drop", "labeling.snapshots.replaced.commit_intent",
    "tasks.erasure.erased.mark_erased", "tasks.erasure.erasures.confirm_samples",
)  # fmt: skip


def state(ctx: Context) -> object:
    """All that an erasure leaves, but for its times and what DVC keeps for itself."""
    with ctx.engine.connect() as connection:
        shards = connection.execute(select(*replaced_shards.c["shard", "successor"])).all()
        rows = connection.execute(select(*erased_samples.c["number", "sample_id", "shard"])).all()
        done = connection.scalars(select(erasures.c.done_at)).all()
    root = ctx.workspace.root
    files = {
        str(path.relative_to(root))
        for folder in ("data", ".dvc/cache", "remote", "traffic", "scores")
        for path in (root / folder).rglob("*")
    }
    return shards, rows, [one is not None for one in done], files, sample_ids(ctx)


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    """The state after a run that nothing interrupts."""
    root = tmp_path_factory.mktemp("whole") / "work"
    shutil.copytree(template, root)
    erase_images(open_at(root), "ann")
    return state(open_at(root))


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("act", ACTS)
def test_a_run_after_a_kill_ends_as_one_that_was_not_killed(
    ctx: Context, whole: object, act: str, is_after: bool
) -> None:
    owner, _, name = act.rpartition(".")
    real = getattr(pkgutil.resolve_name(owner), name)

    def killed(*given: Any, **named: Any) -> None:
        if is_after:
            real(*given, **named)
        raise Killed

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(act, killed)
        erase_images(ctx, "ann")
    table = load_snapshot(ctx.engine, ctx.workspace, "snapshot-0001")  # in between, too
    labelled = table[table["sample_id"].isin(LABELLED)]
    assert all(read_image(ctx.workspace.shards, location_of(one)) for one in labelled.itertuples())
    for check in (erased_samples_are_gone, shards_are_of_samples):
        assert list(check(ctx.engine, ctx.workspace)) == []
    erase_images(ctx, "ann")
    assert state(ctx) == whole


def test_the_next_snapshot_has_the_shard_without_the_images(ctx: Context) -> None:
    erase_images(ctx, "ann")
    with only_writer(ctx.engine, "workspace-git") as token:
        assert cut_snapshot(ctx.engine, ctx.workspace, token) == "snapshot-0002"
    with ctx.engine.connect() as connection:
        [replaced] = connection.execute(select(replaced_shards)).all()
    assert f"data/shards/{replaced.successor}" in objects_of(ctx.workspace.root, "snapshot-0002")
    shutil.rmtree(ctx.workspace.shards)
    shutil.rmtree(ctx.workspace.root / ".dvc" / "cache")
    assert replaced.successor in fetch_shards(ctx.engine, ctx.workspace, "snapshot-0001")
    fetch_shards(ctx.engine, ctx.workspace, "snapshot-0002")
    assert not any(places_of(ctx, png(number)) for number in ERASED)
    repair()
    assert problems(ctx) == []


def test_an_image_that_is_served_again_is_a_new_sample(ctx: Context) -> None:
    """It gets a shard of another name than the one that was erased whole, and is erased again."""
    root = ctx.workspace.root
    assert erase_named(ctx, [FRESH], who="ann", why="she asked").samples == 1
    assert places_of(ctx, png(5)) == []
    take_in(root, range(5, 6), start=100)
    assert FRESH in sample_ids(ctx)
    assert problems(ctx) == []
    assert erase_named(ctx, ["prediction-105"], who="ann", why="again").samples == 1
    assert places_of(ctx, png(5)) == []
    assert problems(ctx) == []


def test_who_asks_has_one_image_erased_in_traffic_and_samples(ctx: Context) -> None:
    done = erase_named(ctx, ["prediction-4", PLAIN], who="ann", why="she asked")
    assert (done.images, done.samples, done.left) == (1, 1, [])
    assert places_of(ctx, png(4)) == [] and places_of(ctx, png(3))
    with ctx.engine.connect() as connection:
        rows = connection.execute(select(erasures)).all()
    assert {(row.who, row.why, row.images) for row in rows} == {("ann", "she asked", 1)}
    again = erase_named(ctx, ["prediction-4", PLAIN], who="ann", why="twice")
    assert (again.images, again.samples, again.before) == (0, 0, 1)


def test_a_labelled_sample_and_an_unknown_one_are_refused_and_nothing_is_erased(
    ctx: Context,
) -> None:
    with pytest.raises(HoneError, match=f"sample {LABELLED[0]} is not erased: it has or had a"):
        erase_named(ctx, ["prediction-4", "prediction-0"], who="ann", why="she asked")
    with pytest.raises(HoneError, match="'nothing' is neither a prediction nor a sample"):
        erase_named(ctx, ["prediction-4", "nothing"], who="ann", why="she asked")
    assert len(places_of(ctx, png(4))) >= 3


def test_what_comes_back_is_named_and_erased_again(ctx: Context, template: Path) -> None:
    erase_images(ctx, "ann")
    with ctx.engine.connect() as connection:
        [replaced] = connection.execute(select(replaced_shards)).all()
    name = Path(".dvc/cache/files/md5") / replaced.md5[:2] / replaced.md5[2:]
    for place in (name, Path("data/shards") / replaced.shard):
        shutil.copy(template / place, ctx.workspace.root / place)
    shutil.copytree(template / "remote", ctx.workspace.root / "remote", dirs_exist_ok=True)
    assert len([what for what in problems(ctx) if "has erased images and is in" in what]) == 3
    repair()
    assert problems(ctx) == []
    backup = (template / "data" / "shards" / replaced.shard).read_bytes()
    (ctx.workspace.shards / replaced.successor).write_bytes(backup)
    assert len([what for what in problems(ctx) if "was erased and is in" in what]) == 3
    repair()
    assert problems(ctx) == []
    assert not any(places_of(ctx, png(number)) for number in ERASED)


def test_a_process_that_reads_samples_holds_up_the_erasure_and_not_the_check(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tasks.erasure.WAIT", 0.1)
    with only_writer(ctx.engine, "training"):
        assert erase_images(ctx, "ann") == {}
    assert "erased at the next check" in capsys.readouterr().out
    assert erase_images(ctx, "ann") == {"sample age": 3}


def test_a_damaged_shard_is_not_written_anew(ctx: Context) -> None:
    [path] = [one for one in ctx.workspace.shards.iterdir() if png(2) in one.read_bytes()]
    path.write_bytes(path.read_bytes() + b"x")
    erase_images(ctx, "ann")
    with ctx.engine.connect() as connection:
        [row] = connection.execute(select(erasures).where(erasures.c.last_seq == 0)).all()
    assert row.done_at is None
    repair()
    erase_images(ctx, "ann")
    assert not any(places_of(ctx, png(number)) for number in ERASED)
    assert problems(ctx) == []
