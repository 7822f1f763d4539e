"""Guesses train while the audit lets them; tried on the audit before a snapshot takes them in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, insert

from core import journal
from core.database import connect, now, upgrade, writing
from core.findings import Finding
from core.locks import only_writer
from core.shards import write_shard
from core.workspace import init_workspace
from labeling.ledger.tables import audit, labels, rounds, samples
from labeling.quality.pseudo_labels import SoftPolicy
from labeling.snapshots.publish import cut_snapshot
from labeling.snapshots.table import SnapshotConfig
from models.registry.versions import models
from models.scoring.cache import open_cache
from tasks import context
from tasks.collect.pseudo_labels import choose_pseudo_labels, training_samples_of
from tasks.operate import fsck
from tests.labeling.databases import make_engine

CLASSES = ["cat", "dog", "elk"]
TAUGHT, AUDIT = 30, 120
ON = SoftPolicy(enabled=True)


@dataclass
class World:
    """A ledger of 600 samples: labels to train on, audit samples with labels, and the pool."""

    engine: Engine
    truth: np.ndarray
    rows: np.ndarray  # what a network makes of them
    looked_at: list[str]

    def embed(self, table: pd.DataFrame) -> tuple[np.ndarray, str]:
        self.looked_at += table["sample_id"].tolist()
        return self.rows[table["sample_id"].str[1:].astype(int)], "a network"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    engine = connect(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    upgrade(engine)
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=600)
    names = [f"s{number:03d}" for number in range(600)]
    place = {"shard": "x.tar", "offset": 0, "length": 9, "stored_sha256": "0", "format": "PNG"}
    place |= {"width": 8, "height": 8, "thumbnail": b"", "origin": "ingest", "added_at": now()}
    given = {"trust": 1.0, "annotators": [], "method": "import"}
    given |= {"settled_at": now()}
    settled = zip(names[: TAUGHT + AUDIT], truth, strict=False)
    with writing(engine) as connection:
        first = {"round_id": "round-0001", "number": 1, "strategy": "random", "seed": 0}
        connection.execute(insert(rounds).values(**first, config="", why="", chosen_at=now()))
        connection.execute(
            insert(samples), [{"sample_id": name, "group_id": name, **place} for name in names]
        )
        connection.execute(
            insert(labels),
            [{"sample_id": name, "label": CLASSES[said], **given} for name, said in settled],
        )
        drawn = {"round_id": "round-0001", "inclusion_probability": 0.2, "drawn_at": now()}
        connection.execute(
            insert(audit),
            [{"sample_id": name, **drawn} for name in names[TAUGHT : TAUGHT + AUDIT]],
        )
    rows = 2 * rng.normal(size=(3, 8))[truth] + rng.normal(size=(600, 8))
    yield World(engine, truth, rows.astype(np.float32), [])
    engine.dispose()


def choose(world: World, policy: SoftPolicy = ON, *, weight: float = 0.5, **learnt: list[str]):
    config = SnapshotConfig(val_share=0)
    return choose_pseudo_labels(
        world.engine, CLASSES, world.embed, policy, config, weight=weight, **learnt
    )


def test_confident_guesses_of_the_pool_go_into_the_next_snapshot(world):
    choice = choose(world)
    assert choice.rows is not None and len(choice.rows) > TAUGHT
    assert choice.rows["sample_id"].min() >= f"s{TAUGHT + AUDIT}"  # none labelled, none audited
    numbers = choice.rows["sample_id"].str[1:].astype(int)
    right = choice.rows["label"] == np.asarray(CLASSES, object)[world.truth[numbers]]
    assert right.mean() > 0.9
    assert choice.rows["source"].unique().tolist() == ["propagation-2, a network"]
    assert "on 120 audit samples with them" in choice.why


def test_the_same_ledger_gives_the_same_guesses(world):
    pd.testing.assert_frame_equal(choose(world).rows, choose(world).rows)


def test_guesses_that_hurt_on_the_audit_are_left_out_and_it_says_by_how_much(world):
    # The labelled and whatever is near them agree on a loud part of the embedding. In the pool and
    # in the audit it says nothing, and there lies a quiet part that tells the classes.
    rng = np.random.default_rng(1)
    loud = world.truth.copy()
    loud[TAUGHT:] = rng.permutation(loud[TAUGHT:])
    quiet = 1.2 * np.eye(3)[world.truth] + 0.3 * rng.normal(size=(600, 3))
    noise = 0.05 * rng.normal(size=(600, 6))
    world.rows = np.hstack([quiet, np.eye(6)[loud] * 6 + noise]).astype(np.float32)
    choice = choose(world, SoftPolicy(enabled=True, share=10.0))
    assert choice.rows is None
    assert choice.why.startswith("pseudo-labels are left out, they hurt: ")


def test_too_few_audit_samples_cannot_tell_so_there_are_no_guesses(world):
    choice = choose(world, SoftPolicy(enabled=True, min_audit=AUDIT + 1))
    assert choice.rows is None
    assert "120 labelled audit samples (121 are needed" in choice.why
    assert world.looked_at == []


def test_guesses_nobody_can_be_sure_of_are_not_made(world):
    world.rows = np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32)
    choice = choose(world)
    assert choice.rows is None
    assert choice.why == "no pseudo-labels: none has a confidence of 0.9"


def test_while_another_process_looks_at_the_pool_labels_do_not_wait_for_guesses(world, tmp_path):
    seen = world.embed

    def embed(table: pd.DataFrame) -> tuple[np.ndarray, str]:
        with open_cache(tmp_path / "scores", outputs=3, width=8):
            return seen(table)

    world.embed = embed
    with open_cache(tmp_path / "scores", outputs=3, width=8):
        choice = choose(world)
    assert choice.rows is None
    assert choice.why.startswith("no pseudo-labels this time: another process is scoring")
    assert choose(world).rows is not None


@pytest.mark.parametrize(("policy", "weight"), [(SoftPolicy(enabled=False), 0.5), (ON, 0.0)])
def test_switched_off_nothing_is_looked_at(world, policy, weight):
    choice = choose(world, policy, weight=weight)
    assert (choice.rows, choice.why) == (None, "pseudo-labels are off")
    assert world.looked_at == []


def test_labels_the_network_learnt_from_do_not_make_it_sure(world):
    learnt = [f"s{number:03d}" for number in range(TAUGHT)]
    assert choose(world, learnt=learnt).rows is None
    assert choose(world, learnt=learnt[: TAUGHT // 2]).rows is not None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> context.Context:
    """A workspace whose snapshot has two labels and a guess, and a model that was trained on it."""
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
        about = {"weights_sha256": "0", "code_commit": "x", "seed": 0, "config": {}}
        row = {"version": "hone:1", "snapshot": "snapshot-0001", "metrics": {}}
        journal.insert(connection, models, [{**row, **about, "created_at": now()}])
    soft = {"label": "cat", "trust": 0.9, "source": "propagation-1", "probs": '{"cat": 0.9}'}
    with only_writer(engine, "workspace-git") as token:
        rows = pd.DataFrame([{"sample_id": "c", **soft}])
        assert cut_snapshot(engine, made, token, SnapshotConfig(val_share=0.5), soft=rows)
    monkeypatch.setenv("HONE_WORKSPACE", str(made.root))
    return context.open_context()


def test_a_model_learnt_from_labels_and_guesses_and_not_from_what_it_was_checked_on(place):
    assert training_samples_of(place, "hone:1") in ({"a", "c"}, {"b", "c"})
    assert training_samples_of(place, None) == set()
    with pytest.raises(ValueError, match="there is no model 'hone:2'"):
        training_samples_of(place, "hone:2")


def findings() -> list[Finding]:
    """What is broken, beside the models that this workspace has rows of only."""
    return [one for one in fsck.check() if one.promise != "I6"]


def test_a_snapshot_with_guesses_is_sound_until_one_of_them_was_in_the_audit(place):
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
