"""A model on the audit images that were stored with it: confusion, mistakes and their pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, update

from core import journal
from core.database import now, writing
from core.shards import pack
from labeling.ledger.tables import labels, samples, sources
from models.registry.model_store import entry, save_model
from models.scoring.predict import Predictions
from settings import Settings
from tasks.context import Context
from tasks.report.html.judged import judged_rows
from tests.labeling.databases import make_engine, put_in_audit
from tests.models.saved_models import CLASSES, make_card, make_network, make_workspace, png

GATE, REPORT = ["a", "b", "c", "d"], ["e"]
TRUTHS = dict(zip("abcdet", ["cat", "cat", "dog", "eel", "cat", "dog"], strict=True))
ANSWERS = {"a": 0, "b": 1, "c": 1, "d": 2, "e": 2, "t": 0}  # b and e are wrong, as is t
SURE = {"a": 0.9, "b": 0.6, "c": 0.9, "d": 0.9, "e": 0.95, "t": 0.99}


@dataclass(frozen=True)
class World:
    ctx: Context
    version: str


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Five audit images and one of training, each with a label, a picture and a stored answer."""
    workspace, first = make_workspace(tmp_path / "work")
    first.dispose()
    names = list(TRUTHS)
    engine = make_engine(workspace.root, names)
    shard = pack([(name, png(place)) for place, name in enumerate(names)])
    workspace.shards.mkdir(parents=True)
    shard.write(workspace.shards)
    with writing(engine) as connection:
        for name, place in zip(names, shard.places, strict=True):
            row = {"shard": place.shard, "offset": place.offset, "length": place.length}
            row |= {"sample_id": name, "stored_sha256": place.sha256}
            journal.update_rows(connection, samples, [row])
            label = {"sample_id": name, "label": TRUTHS[name], "trust": 1.0, "annotators": []}
            connection.execute(insert(labels).values(**label, method="single", settled_at=now()))
        file = {"path": "/in/e.png", "sample_id": "e", "size": 1, "mtime_ns": 1, "seen_at": now()}
        connection.execute(insert(sources).values(**file))
    put_in_audit(engine, GATE)
    put_in_audit(engine, REPORT, part="report")
    outputs = np.full((len(names), len(CLASSES)), 0.0, np.float32)
    for at, name in enumerate(names):
        outputs[at] = (1 - SURE[name]) / 2
        outputs[at, ANSWERS[name]] = SURE[name]
    predicted = Predictions(outputs, np.zeros((len(names), 4), np.float32))
    version = save_model(
        engine, workspace.bento_home, make_network(), make_card(), predicted, reference_ids=names
    )
    return World(Context(Settings(), workspace, engine), version)


def test_confusion_is_on_gate_rows_and_mistakes_are_of_all_audit_rows(world: World) -> None:
    judged = judged_rows(world.ctx, world.version)
    assert judged.confusion is not None and judged.accuracy is not None
    assert judged.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert (judged.accuracy.value, judged.accuracy.rows) == (0.75, 4)
    assert [(one.sample_id, one.truth, one.predicted) for one in judged.mistakes] == [
        ("e", "cat", "eel"), ("b", "cat", "dog"),
    ]  # fmt: skip
    assert [one.path for one in judged.mistakes] == ["/in/e.png", None]
    assert all(str(one.picture.address).startswith("data:image/") for one in judged.mistakes)
    assert judged.rows == 5


def test_labels_are_those_in_force_and_unknown_classes_do_not_count(world: World) -> None:
    with writing(world.ctx.engine) as connection:
        mine = update(labels).where(labels.c.sample_id == "b")
        connection.execute(mine.values(label="dog"))
        other = update(labels).where(labels.c.sample_id == "c")
        connection.execute(other.values(label="a new class"))
    judged = judged_rows(world.ctx, world.version)
    assert judged.confusion is not None
    assert judged.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_lost_shard_leaves_the_figures_and_says_why_there_is_no_picture(world: World) -> None:
    for path in world.ctx.workspace.shards.iterdir():
        path.unlink()
    judged = judged_rows(world.ctx, world.version)
    assert judged.accuracy is not None
    assert judged.mistakes[0].picture.address is None
    assert "hone fsck" in judged.mistakes[0].picture.missing
    assert str(world.ctx.workspace.root) not in judged.mistakes[0].picture.missing


def test_damaged_outputs_are_named(world: World) -> None:
    folder = entry(world.ctx.workspace.bento_home, world.version)
    (folder / "reference.npz").write_bytes(b"damaged")
    judged = judged_rows(world.ctx, world.version)
    assert judged.confusion is None and "hone fsck" in judged.missing
