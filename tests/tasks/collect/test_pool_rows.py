"""The pool is trained on where held-out labels show that it helps, without what is measured on."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, insert, update

from core import journal
from core.database import now, writing
from core.errors import HoneError
from core.findings import Finding
from core.locks import only_writer
from core.shards import write_shard
from core.workspace import init_workspace
from labeling.ledger.samples import groups_of
from labeling.ledger.tables import audit, gold, labels, rounds, samples
from labeling.quality.student import TrainPolicy
from labeling.snapshots.publish import cut_snapshot
from labeling.snapshots.table import SnapshotConfig, build_table
from models.registry.versions import models
from models.scoring.cache import open_cache
from tasks import context
from tasks.collect import pool_rows
from tasks.collect.pool_rows import choose_pool_rows, training_samples_of
from tasks.label import copies
from tasks.operate import fsck
from tasks.soft_rows import SoftChoice, may_be_learnt
from tests.labeling.databases import make_engine
from tests.labeling.quality.test_student import clusters

CLASSES = ["cat", "dog", "elk"]
LABELS, AUDIT, ALL = 30, 20, 600
CONFIG = SnapshotConfig(val_share=0)
CARD = {"weights_sha256": "0", "code_commit": "x", "seed": 0, "created_at": now()}


@dataclass
class World:
    """A ledger of 600 samples: labels to train on, audit samples with labels, and the pool."""

    ctx: context.Context
    truth: np.ndarray
    features: np.ndarray
    embedded: list[str] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        return self.ctx.engine

    def embed(self, table: pd.DataFrame) -> np.ndarray | None:
        self.embedded += table["sample_id"].tolist()
        return self.features[table["sample_id"].str[1:].astype(int)]

    def choose(
        self, pool: str = "auto", embed: Callable[[pd.DataFrame], np.ndarray | None] | None = None,
        config: SnapshotConfig = CONFIG,
    ) -> SoftChoice:  # fmt: skip
        return choose_pool_rows(self.ctx, TrainPolicy(pool=pool), config, embed or self.embed)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    workspace = init_workspace(tmp_path / "work", CLASSES)
    names = [f"s{number:03d}" for number in range(ALL)]
    engine = make_engine(workspace.root, names)
    features, truth = clusters([1 / 3] * 3, rows=ALL, spread=1.5)
    settled = {"trust": 1.0, "annotators": [], "method": "import", "settled_at": now()}
    with writing(engine) as connection:
        first = {"round_id": "round-0001", "number": 1, "strategy": "random", "seed": 0}
        connection.execute(insert(rounds).values(**first, config={}, why="", chosen_at=now()))
        rows = zip(names[: LABELS + AUDIT], truth, strict=False)
        connection.execute(
            insert(labels),
            [{"sample_id": name, "label": CLASSES[number], **settled} for name, number in rows],
        )
        drawn = {"round_id": "round-0001", "inclusion_probability": 0.2, "drawn_at": now()}
        connection.execute(
            insert(audit), [{"sample_id": name, **drawn} for name in names[LABELS:][:AUDIT]]
        )
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    ctx = context.open_context()
    yield World(ctx, truth, features)
    ctx.engine.dispose()
    engine.dispose()


def test_inferred_labels_of_the_pool_go_into_the_next_snapshot(world: World) -> None:
    choice = world.choose()
    pool = [f"s{number:03d}" for number in range(LABELS + AUDIT, ALL)]  # none labelled or audited
    half = [name for name in pool if may_be_learnt(name)]  # the other one is for duels
    assert 0.4 * len(pool) < len(half) < 0.6 * len(pool)
    assert choice.rows is not None and choice.rows["sample_id"].tolist() == half
    numbers = choice.rows["sample_id"].str[1:].astype(int)
    right = choice.rows["label"] == np.asarray(CLASSES, object)[world.truth[numbers]]
    sure = choice.rows["trust"] > 0.8
    assert right[sure].mean() > right[~sure].mean() and choice.rows["trust"].between(0, 1).all()
    assert choice.rows["source"].unique().tolist() == ["pool"]
    assert json.loads(choice.rows["probs"][0]).keys() == set(CLASSES)
    words = f"{len(half)} inferred labels of 550 samples of the pool: held-out labels"
    assert choice.why.startswith(words)
    again = world.choose().rows
    assert again is not None
    pd.testing.assert_frame_equal(again, choice.rows)


def test_near_duplicates_of_what_is_measured_or_labelled_have_no_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_rows, "may_be_learnt", lambda _: True)
    measured = f"s{LABELS:03d}"
    groups = {"s100": measured, "s101": "s000", "s103": "s102"}
    with writing(world.engine) as connection:
        for name, group in groups.items():
            at = samples.c.sample_id == name
            connection.execute(update(samples).where(at).values(group_id=group))
        connection.execute(
            insert(gold).values(sample_id="s104", label="cat", source="me", added_at=now())
        )
    choice = world.choose()
    assert choice.rows is not None
    table = build_table(world.engine, CONFIG, choice.rows).to_pandas()
    soft = set(table.loc[table["split"] == "soft", "sample_id"])
    assert not soft & {"s100", "s101", "s103", "s104"} and {"s102", "s105"} <= soft
    assert not {"s100", "s101", "s103"} & set(world.embedded), "they are not even looked at"


def test_copies_that_only_features_show_have_no_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited, copy = LABELS, next(n for n in range(300, ALL) if may_be_learnt(f"s{n}"))
    world.features[copy] = world.features[audited]

    def aligned(features: np.ndarray, rows: np.ndarray, _: object) -> list[tuple[int, int]]:
        """What features and thumbnails of real images show."""
        alike = (features[rows] @ features.T) > 0.9999 * (features[rows] ** 2).sum(axis=1)[:, None]
        return [(int(rows[at]), int(to)) for at, to in np.argwhere(alike) if rows[at] != to]

    monkeypatch.setattr(copies, "aligned_copies", aligned)
    choice = world.choose()
    assert choice.rows is not None and f"s{copy}" not in set(choice.rows["sample_id"])
    with world.engine.connect() as connection:
        groups = groups_of(connection, [f"s{copy}", f"s{audited:03d}"])
    assert len(set(groups.values())) == 1, "it is held back with the audit from now on"


def test_copies_of_a_label_do_not_predict_each_other(world: World) -> None:
    rng = np.random.default_rng(1)
    world.features = rng.normal(size=(ALL, 8)).astype(np.float32)
    with writing(world.engine) as connection:
        for number in range(LABELS):
            first = number - number % 3
            world.features[number] = world.features[first]
            name = labels.c.sample_id == f"s{number:03d}"
            connection.execute(update(labels).where(name).values(label=CLASSES[world.truth[first]]))
            at = samples.c.sample_id == f"s{number:03d}"
            connection.execute(update(samples).where(at).values(group_id=f"s{first:03d}"))
    assert world.choose().rows is None


def test_where_the_features_say_nothing_the_labels_stay_alone(world: World) -> None:
    world.features = np.random.default_rng(1).normal(size=(ALL, 8)).astype(np.float32)
    choice = world.choose()
    assert choice.rows is None
    assert choice.why.startswith("the pool is not trained on: held-out labels are likelier by")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"LEAST_POOL": 551}, "550 samples in the pool (551 are needed)"),
        ({"FEWEST": 31}, "30 labels (31 to 10,000 are needed)"),
        ({"MOST_LABELS": 29}, "30 labels (10 to 29 are needed)"),
        ({"MOST_WORK": 87}, "30 labels (10 to 29 are needed)"),
    ],
)
def test_with_too_few_or_too_many_samples_nothing_is_embedded(
    world: World, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], words: str
) -> None:
    for name, value in changes.items():
        monkeypatch.setattr(pool_rows, name, value)
    choice = world.choose()
    assert choice.rows is None and words in choice.why and world.embedded == []


def test_switched_off_nothing_is_embedded(world: World) -> None:
    choice = world.choose("off")
    assert (choice.rows, choice.why) == (None, "the pool is not trained on: it is off in hone.toml")
    assert world.embedded == []


def test_a_word_that_is_no_use_of_the_pool_is_refused(world: World) -> None:
    path = world.ctx.workspace.root / "hone.toml"
    path.write_text(path.read_text() + '\n[train]\npool = "on"\n')
    with pytest.raises(HoneError, match=r"\[train\].pool is 'on'; choose one of off, auto"):
        context.open_context()


def test_without_features_the_reason_is_stored(world: World) -> None:
    choice = world.choose(embed=lambda _: None)
    assert (choice.rows, choice.why) == (
        None, "the pool is not trained on: no features are at hand",
    )  # fmt: skip


def test_labels_of_a_class_that_was_taken_away_teach_nothing(world: World) -> None:
    with writing(world.engine) as connection:
        gone = labels.c.sample_id.in_([f"s{number:03d}" for number in range(5)])
        connection.execute(update(labels).where(gone).values(label="fox"))
    assert world.choose().rows is not None
    assert not {"s000", "s004"} & set(world.embedded) and "s005" in world.embedded


def test_of_a_large_pool_a_bounded_part_takes_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_rows, "POOL_ROWS", 300)
    monkeypatch.setattr(pool_rows, "SOFT_ROWS", 100)
    choice = world.choose()
    assert choice.rows is not None and len(choice.rows) == 100
    assert len(world.embedded) == LABELS + 300 + AUDIT  # of which copies are looked for


def test_while_another_process_embeds_the_pool_labels_do_not_wait(
    world: World, tmp_path: Path
) -> None:
    def embed(table: pd.DataFrame) -> np.ndarray | None:
        with open_cache(tmp_path / "scores", outputs=3, width=8):
            return world.embed(table)

    with open_cache(tmp_path / "scores", outputs=3, width=8):
        choice = world.choose(embed=embed)
    assert choice.rows is None and "another process embeds the pool" in choice.why
    assert world.choose(embed=embed).rows is not None


@pytest.mark.parametrize(("accuracy", "pool", "is_used"), [(1.0, None, False), (0.3, None, True),
                                                           (1.0, "200 rows", True)])  # fmt: skip
def test_a_model_of_labels_alone_that_is_better_already_keeps_the_pool_out(
    world: World, monkeypatch: pytest.MonkeyPatch, accuracy: float, pool: str | None, is_used: bool
) -> None:
    with writing(world.engine) as connection:
        row = {"version": "hone:1", "snapshot": "snapshot-0001", "metrics": {}, **CARD}
        journal.insert(connection, models, [{**row, "config": {"pool": pool}}])
    monkeypatch.setattr(pool_rows, "champion", lambda _: "hone:1")
    monkeypatch.setattr(pool_rows, "training_samples_of", lambda *_: set())
    monkeypatch.setattr(pool_rows, "LEAST_CHECK", 5)

    world.features += 0.15 * np.random.default_rng(3).normal(size=world.features.shape)

    class Card:
        classes = tuple(CLASSES)

    def outputs(_: object, model: str, table: pd.DataFrame) -> tuple[type[Card], np.ndarray]:
        truth = world.truth[table["sample_id"].str[1:].astype(int)]
        wrong = np.arange(len(truth)) >= accuracy * len(truth)
        return Card, np.eye(3, dtype=np.float32)[(truth + wrong) % 3]

    monkeypatch.setattr(pool_rows, "pool_outputs", outputs)
    with writing(world.engine) as connection:  # labels enough to validate on
        settled = {"trust": 1.0, "annotators": [], "method": "import", "settled_at": now()}
        more = [f"s{number:03d}" for number in range(60, 200)]
        rows = [{"sample_id": name, "label": CLASSES[world.truth[int(name[1:])]], **settled}
                for name in more]  # fmt: skip
        connection.execute(insert(labels), rows)
    choice = world.choose(config=SnapshotConfig(val_share=0.5))
    assert (choice.rows is not None) == is_used, choice.why
    if not is_used:
        assert "hone:1 is right on 1.000 of" in choice.why


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> context.Context:
    """A workspace whose snapshot has two labels and a soft row, and a model trained on it."""
    made = init_workspace(tmp_path / "work", ["cat", "dog"])
    names = ["a", "b", "c"]
    engine = make_engine(made.root, names)
    places = write_shard(made.shards, [(name, name.encode()) for name in names])
    given = {"trust": 1.0, "annotators": [], "method": "import"}
    with writing(engine) as connection:
        for name, where in zip(names, places, strict=True):
            row = {"shard": where.shard, "offset": where.offset, "length": where.length}
            row |= {"sample_id": name, "stored_sha256": where.sha256}
            journal.update_rows(connection, samples, [row])
        for name in ("a", "b"):
            row = {"sample_id": name, "label": "cat", "settled_at": "2026"}
            journal.insert(connection, labels, [row | given])
        row = {"version": "hone:1", "snapshot": "snapshot-0001", "metrics": {}, **CARD}
        journal.insert(connection, models, [{**row, "config": {}}])
    soft = {"label": "cat", "trust": 0.9, "source": "pool", "probs": '{"cat": 0.9}'}
    with only_writer(engine, "workspace-git") as token:
        rows = pd.DataFrame([{"sample_id": "c", **soft}])
        assert cut_snapshot(engine, made, token, SnapshotConfig(val_share=0.5), soft=rows)
    monkeypatch.setenv("HONE_WORKSPACE", str(made.root))
    return context.open_context()


def test_a_model_learnt_from_labels_and_pool_and_not_from_what_it_was_checked_on(place):
    assert training_samples_of(place, "hone:1") in ({"a", "c"}, {"b", "c"})
    with pytest.raises(ValueError, match="there is no model 'hone:2'"):
        training_samples_of(place, "hone:2")


def findings() -> list[Finding]:
    """What is broken, beside the models that this workspace has rows of only."""
    return [one for one in fsck.check() if one.promise != "I6"]


def test_a_snapshot_with_soft_rows_is_sound_until_one_of_them_was_in_the_audit(place):
    assert findings() == []
    with writing(place.engine) as connection:
        first = {"round_id": "round-0001", "number": 1, "strategy": "random", "seed": 0}
        first |= {"config": "", "why": "", "chosen_at": now(), "sent_at": now()}
        journal.insert(connection, rounds, [first])
        drawn = {"round_id": "round-0001", "inclusion_probability": 0.2, "drawn_at": now()}
        journal.insert(connection, audit, [{"sample_id": "c", **drawn}])
    assert not [one for one in findings() if "is trained on" in one.what]  # it was drawn later
    with writing(place.engine) as connection:
        journal.update(connection, audit, drawn_at="2020-01-01T00:00:00.000000+00:00")
    (found,) = [one for one in findings() if "is trained on" in one.what]
    assert (found.promise, "sample c" in found.what) == ("I11", True)
