# ruff: noqa: F811 - fixtures
"""A student learns from the champion's outputs for the pool, and from nothing that is measured."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core import journal
from core.database import writing
from flows.distill import distill as flow
from labeling.ingest.intake import ingest
from labeling.ledger import duels
from labeling.ledger.overview import snapshot_names
from labeling.ledger.rounds import load_pool
from labeling.ledger.tables import samples
from labeling.snapshots import publish
from labeling.snapshots.table import SnapshotConfig
from models.kinds import KINDS
from models.network.network import NetworkConfig
from models.registry import versions
from models.registry.overview import model_origin
from models.training.config import TrainConfig
from tasks.context import Context
from tasks.direct_run import direct_runs
from tasks.label.score_pool import pool_outputs
from tasks.predictions import load_version
from tasks.retrain import distill, gather
from tasks.soft_rows import may_be_learnt, soft_rows
from tests.tasks.duels import CHALLENGER, begin_duel, make_duel_workspace
from tests.tasks.labelled_folders import import_images
from tests.tasks.retrain.test_judge import (  # noqa: F401 - fixtures
    ctx,
    cut,
    draw,
    put_in_service,
    save,
)


@pytest.fixture(autouse=True)
def direct() -> Iterator[None]:
    """Progress is no artifact of a Prefect server, which would be started."""
    with direct_runs():
        yield


def add_pool(ctx: Context, folder: Path, count: int = 12) -> None:
    """New images without a label."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(7)
    for number in range(count):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    ingest(ctx.engine, ctx.workspace, [folder])


def freeze(most: int = 100) -> str:
    return str(distill.freeze_soft_targets.fn(SnapshotConfig(), most))


def test_a_student_learns_from_the_teachers_outputs_and_from_nothing_that_is_measured(
    ctx: Context, tmp_path: Path
) -> None:
    draw(ctx)
    labels = cut()
    teacher = save(ctx, labels, seed=1)
    put_in_service(ctx, teacher)
    add_pool(ctx, tmp_path / "pool")
    name = freeze()
    assert (name, freeze()) == ("snapshot-0002", name)  # once
    table = publish.load_snapshot(ctx.engine, ctx.workspace, name)
    soft = table[table["split"] == "soft"]
    with ctx.engine.connect() as connection:
        pool = load_pool(connection)
        assert publish.newest_snapshot(connection) == labels  # no training takes the other one
        assert publish.teachers(connection) == {name: teacher}
        assert publish.count_changed_labels(connection) == 0
    half = [name for name in pool["sample_id"] if may_be_learnt(name)]  # the other one is for duels
    assert sorted(soft["sample_id"]) == sorted(half) and 0 < len(half) < len(pool)
    assert set(soft["source"]) == {teacher}
    measured = table[table["split"].isin(["test", "held", "val"])]
    assert not set(soft["group_id"]) & set(measured["group_id"])
    _, outputs = pool_outputs(ctx, teacher, pool)
    expected = dict(zip(pool["sample_id"], outputs.tolist(), strict=True))
    for row in soft.itertuples():
        assert list(json.loads(str(row.probs)).values()) == pytest.approx(
            expected[str(row.sample_id)], abs=1e-4
        )
    config = TrainConfig(epochs=1, min_steps=1, precision="fp32", soft_weight=0.9)
    student = flow(network=NetworkConfig("squeezenet1_1"), train=config, front_only=True)
    assert versions.find_model(ctx.engine, student).snapshot == name
    card = load_version(ctx, student).card
    assert card.teacher == teacher
    assert card.recipe["why"] == ["the network starts from scratch: all of it is trained"]
    (run,) = ctx.workspace.runs.glob(f"{name}-*")
    planned = json.loads((run / "config.json").read_text())["recipe"]
    assert planned == {word: card.recipe[word] for word in planned}
    assert card.pool is not None and card.pool.startswith(f"{len(soft)} rows of weight 0.9: ")
    with ctx.engine.connect() as connection:
        assert model_origin(connection, student)[0].pool == card.pool
        assert model_origin(connection, teacher)[0].pool is None
        assert model_origin(connection, student)[0].teacher == teacher
        assert model_origin(connection, teacher)[0].teacher is None
    assert set(soft["group_id"]) <= gather.training_groups(ctx, student)


def test_new_labels_are_still_counted_from_the_last_snapshot_of_labels(
    ctx: Context, tmp_path: Path
) -> None:
    put_in_service(ctx, save(ctx, cut(), seed=1))
    add_pool(ctx, tmp_path / "pool")
    import_images(tmp_path / "second", cat=2)
    with ctx.engine.connect() as connection:
        changed = publish.count_changed_labels(connection)
    freeze()
    with ctx.engine.connect() as connection:
        assert publish.count_changed_labels(connection) == changed > 0
    assert cut() == "snapshot-0003"


def test_the_pool_is_drawn_evenly_up_to_a_limit_and_the_same_each_time(
    ctx: Context, tmp_path: Path
) -> None:
    add_pool(ctx, tmp_path / "pool", count=40)
    with ctx.engine.connect() as connection:
        few, again = (distill._free_pool(connection, 5) for _ in range(2))
        every = distill._free_pool(connection, 100)
    assert few.equals(again) and len(few) == 5
    assert set(few["sample_id"]) < set(every["sample_id"])


def test_what_an_open_duel_asks_about_and_what_resembles_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="++--" * 3)
    with ctx.engine.connect() as connection:
        before = load_pool(connection)
    duel = begin_duel(ctx, pool="++--" * 2)
    with ctx.engine.connect() as connection:
        drawn = duels.load_duel_samples(connection, duel.duel_id)["sample_id"].tolist()
        free = distill._free_pool(connection, 100)["sample_id"].tolist()
    left = set(before["sample_id"]) - set(drawn)
    assert drawn and set(free) == {name for name in left if may_be_learnt(name)}
    group = before.set_index("sample_id").loc[drawn[0], "group_id"]
    with writing(ctx.engine) as connection:
        journal.update_rows(connection, samples, [{"sample_id": free[0], "group_id": group}])
    with ctx.engine.connect() as connection:
        assert set(distill._free_pool(connection, 100)["sample_id"]) == set(free[1:])


def test_without_a_champion_or_a_pool_the_error_says_what_to_do(ctx: Context) -> None:
    with pytest.raises(ValueError, match="no model is in service that could teach"):
        freeze()
    put_in_service(ctx, save(ctx, cut(), seed=1))
    with pytest.raises(ValueError, match="`hone ingest` takes images in"):
        freeze()


def test_a_pool_that_resembles_what_is_measured_teaches_nothing(
    ctx: Context, tmp_path: Path
) -> None:
    labels = cut()
    put_in_service(ctx, save(ctx, labels, seed=1))
    add_pool(ctx, tmp_path / "pool", count=3)
    table = publish.load_snapshot(ctx.engine, ctx.workspace, labels)
    [group, *_] = table.loc[table["split"] == "val", "group_id"]
    with ctx.engine.connect() as connection:
        pool = load_pool(connection)["sample_id"]
    with writing(ctx.engine) as connection:
        alike = [{"sample_id": name, "group_id": group} for name in pool]
        journal.update_rows(connection, samples, alike)
    with pytest.raises(ValueError, match="no unlabelled sample to learn from"):
        freeze()
    with ctx.engine.connect() as connection:
        assert snapshot_names(connection) == [labels]


def test_a_students_duel_is_played_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="++--" * 6)

    def judge(*_: object) -> None:
        begin_duel(ctx, pool="++--" * 5)

    module = importlib.import_module("flows.distill")
    monkeypatch.setattr(module, "freeze_soft_targets", lambda *_: "snapshot-0001")
    monkeypatch.setattr(module, "train_challenger", lambda *_: CHALLENGER)
    monkeypatch.setattr(module, "judge", judge)
    assert flow(annotators="simulated") == CHALLENGER
    with ctx.engine.connect() as connection:
        assert duels.open_duel(connection) is None
        [played] = duels.all_duels(connection)
    assert played.verdict_id is not None


def test_a_soft_row_has_the_likeliest_class_and_every_probability() -> None:
    outputs = np.array([[0.25, 0.75], [0.9, 0.1]], np.float32)
    kind = KINDS["classification"]
    rows = soft_rows(["a", "b"], outputs, ("cat", "dog"), kind, source="hone:1")
    assert rows["label"].tolist() == ["dog", "cat"]
    assert json.loads(rows["probs"][0]) == {"cat": 0.25, "dog": 0.75}
    assert rows["trust"].tolist() == [1.0, 1.0]
