"""Copies that only features show take no second place, and are held back with the audit."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select

from core.database import connect, upgrade, writing
from core.locks import only_writer
from core.workspace import init_workspace, load_workspace
from labeling.audit.membership import set_key
from labeling.batches.features import Features
from labeling.batches.quality_control import QualityControlConfig
from labeling.batches.select import SelectionConfig
from labeling.ingest import aligned_copies
from labeling.ingest import join_copies as joining
from labeling.ingest.checks import near_duplicates_are_together
from labeling.ingest.intake import ingest
from labeling.ledger.reasons import Reason
from labeling.ledger.rounds import load_batch
from labeling.ledger.samples import groups_of
from labeling.ledger.tables import audit, sample_states, sources
from settings import Settings
from tasks.context import Context
from tasks.direct_run import direct_runs
from tasks.label import choose, copies
from tests.labeling.ingest.test_near_duplicates import scenes

SCENES = 40
MOVED = (3, 1, 64, 62)


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Forty scenes, and a part of each that the thumbnails of an intake take for another image."""
    workspace = init_workspace(tmp_path / "workspace", ["cat", "dog"], image_size=32)
    engine = connect(workspace.database)
    upgrade(engine)
    with writing(engine) as connection:
        set_key(connection, bytes(32))
    monkeypatch.setattr(aligned_copies, "FEWEST", SCENES)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, scene in enumerate(scenes(SCENES)):
        scene.save(folder / f"{number:03}.png")
        scene.crop(MOVED).save(folder / f"{number:03}-part.png")
    ingest(engine, workspace, [folder])
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    return Context(Settings(), workspace, engine)


def names_of(ctx: Context) -> dict[str, str]:
    """The sample of each file, by its stem."""
    with ctx.engine.connect() as connection:
        rows = connection.execute(select(sources.c.path, sources.c.sample_id)).tuples()
        return {Path(path).stem: sample_id for path, sample_id in rows}


def features_of(names: dict[str, str]) -> Features:
    """Those of a scene and its part are alike, all others are not."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(SCENES, 16))
    numbers = [int(stem[:3]) for stem in names]
    noise = 0.1 * rng.normal(size=(len(numbers), 16))
    return Features(pd.Index(list(names.values())), (rows[numbers] + noise).astype(np.float32))


def test_no_batch_has_two_copies_and_later_ones_have_none_of_the_first(ctx: Context) -> None:
    stems = {sample: stem[:3] for stem, sample in names_of(ctx).items()}
    queue, batches = QualityControlConfig(gold_share=0), list[pd.DataFrame]()
    selection = SelectionConfig(strategy="max_herding", size=12, audit_share=0.2)
    with direct_runs():
        for number in (1, 2):
            round_id = f"round-{number:04}"
            choose.choose_batch.fn(round_id, selection, queue, 0, 500)
            with ctx.engine.connect() as connection:
                batches.append(load_batch(connection, round_id).rows)
    scenes_asked = [rows["sample_id"].map(stems) for rows in batches]
    assert [len(set(asked)) for asked in scenes_asked] == [12, 12]
    # The audit was drawn before: one of its samples may be a copy of what was asked.
    chosen = scenes_asked[1][batches[1]["reason"] != Reason.AUDIT]
    assert len(chosen) > 3
    assert set(chosen).isdisjoint(scenes_asked[0])
    assert list(near_duplicates_are_together(ctx.engine, ctx.workspace)) == []


def test_a_copy_of_an_audit_sample_leaves_the_pool(ctx: Context) -> None:
    names = names_of(ctx)
    stems = {sample: stem for stem, sample in names.items()}
    with ctx.engine.connect() as connection:
        drawn = connection.scalars(select(audit.c.sample_id)).all()
        before = set(groups_of(connection, list(names.values())).values())
    (first, *_) = sorted(stems[sample] for sample in drawn)
    part = f"{first[:3]}-part" if len(first) == 3 else first[:3]
    assert copies.join_copies_of(ctx, features_of(names), [names[first]])
    with ctx.engine.connect() as connection:
        state = select(sample_states.c.state).where(sample_states.c.sample_id == names[part])
        assert connection.scalar(state) == "held"
        groups = groups_of(connection, list(names.values()))
    assert groups[names[part]] == groups[names[first]]
    assert len(set(groups.values())) == len(before) - 1


def test_a_batch_is_chosen_again_when_groups_were_joined_and_only_then(ctx: Context) -> None:
    names = names_of(ctx)
    features = features_of(names)
    assert not copies.join_copies_of(ctx, None, [names["000"]])
    both = [names["001"], names["001-part"]]
    assert copies.join_copies_of(ctx, features, both)
    assert not copies.join_copies_of(ctx, features, both)  # they are in one group now
    assert copies.join_copies_of(ctx, features, [names["000"]])  # its part was not asked about


def test_a_round_killed_after_groups_were_joined_ends_as_an_uninterrupted_one(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def join_and_die(*given: Any) -> bool:
        assert copies.join_copies_of(*given)
        raise Killed

    def chosen(root: Path) -> list[str]:
        monkeypatch.setenv("HONE_WORKSPACE", str(root))
        selection = SelectionConfig(strategy="max_herding", size=12, audit_share=0.2)
        with direct_runs():
            choose.choose_batch.fn("round-0001", selection, QualityControlConfig(), 0, 500)
        engine = connect(load_workspace(root).database)
        with engine.connect() as connection:
            batch = load_batch(connection, "round-0001").sample_ids
        engine.dispose()
        return batch

    shutil.copytree(ctx.workspace.root, tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr(choose, "join_copies_of", join_and_die)
        with pytest.raises(Killed):
            chosen(ctx.workspace.root)
    assert chosen(ctx.workspace.root) == chosen(tmp_path / "copy")


def test_an_intake_under_way_leaves_them_for_the_next_round(
    ctx: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "PATIENCE", 0.0)
    names = names_of(ctx)
    both = [names["001"], names["001-part"]]
    with only_writer(ctx.engine, "intake"):
        assert not copies.join_copies_of(ctx, features_of(names), both)
    assert "wait for the next round" in capsys.readouterr().out
    assert copies.join_copies_of(ctx, features_of(names), both)
