"""A batch keeps what it promised beside second looks, and chance asks for nothing to be seen."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, insert, select, update

from core.database import now, writing
from core.workspace import init_workspace
from labeling.audit.membership import DRAWN, set_key
from labeling.audit.numbers import audit_number
from labeling.batches.quality_control import QualityControlConfig
from labeling.batches.select import SelectionConfig, select_batch
from labeling.ledger.rounds import begun_round, load_batch
from labeling.ledger.tables import (
    answers,
    audit,
    label_answers,
    labels,
    rounds,
    sample_states,
    samples,
)
from labeling.ledger.watermarks import save_watermark
from labeling.strategies.pool import Pool
from models.kinds import KINDS
from models.registry.releases import releases
from models.registry.versions import models
from tasks.context import Context
from tasks.label import choose
from tasks.label.score_pool import PoolPredictions
from tests.labeling.databases import make_engine, put_in_audit

CLASSES = ["cat", "dog"]
LABELLED, WRONG, AUDIT, POOL = 60, 24, 20, 80
NAMES = [f"s{number:03}" for number in range(LABELLED + AUDIT + POOL)]
QUEUE = QualityControlConfig(gold_share=0)


class Eyes:
    """What a champion sees, without the network: two clear classes, the pool well known."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        truth = np.arange(len(NAMES)) % 2
        self.embeddings = 4.0 * truth[:, None] + 0.3 * rng.normal(size=(len(NAMES), 64))
        self.embeddings[LABELLED:] = 4.0 * truth[LABELLED:, None]
        self.probs = np.where(truth[:, None] == [0, 1], 0.99, 0.01)
        self.asked: list[str] = []  # of the pool, the audit and the gold

    def look(
        self,
        ctx: Context,
        pool: pd.DataFrame,
        others: pd.DataFrame,
        labelled: pd.DataFrame,
        model: str,
        selection: SelectionConfig,
    ) -> PoolPredictions:
        known, asked = self._rows(labelled), self._rows(pd.concat([pool, others]))
        self.asked = [NAMES[row] for row in asked]
        numbers = pd.Index(CLASSES).get_indexer(pd.Index(labelled["label"]))
        embeddings = self.embeddings[asked[: len(pool)]]
        probs = self.probs[asked]
        arrays = Pool(probs[: len(pool)], embeddings, None, self.embeddings[known], numbers)
        kind = KINDS["classification"]
        return PoolPredictions(arrays, CLASSES, pd.Index(self.asked), probs, model, kind)

    def _rows(self, table: pd.DataFrame) -> np.ndarray:
        return table["sample_id"].str[1:].astype(int).to_numpy()


@pytest.fixture
def eyes(monkeypatch: pytest.MonkeyPatch) -> Eyes:
    found = Eyes()
    monkeypatch.setattr(choose, "predict_pool", found.look)
    return found


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Sixty labels of one person, many of them wrong, an audit, a pool, and a model."""
    place = init_workspace(tmp_path, CLASSES, policies="[gate]\nmin_rows = 3\n")
    engine = make_engine(place.root, NAMES)
    said = [CLASSES[(number + (number < WRONG)) % 2] for number in range(LABELLED)]
    about = {"snapshot": "snapshot-0001", "weights_sha256": "0", "code_commit": "x", "seed": 0}
    about |= {"config": {}, "metrics": {}, "created_at": now()}
    given = {"source": "test", "annotator": "ann", "kind": "answer", "updated_at": now()}
    given |= {"digest": "0", "seen_at": now()}
    settled = {"trust": 1.0, "annotators": ["ann"], "method": "majority", "settled_at": now()}
    with writing(engine) as connection:
        connection.execute(insert(models).values(version="hone:1", **about))
        connection.execute(
            insert(releases).values(
                number=1, champion="hone:1", who="ann", why="the first", released_at=now()
            )
        )
        for number, value in enumerate(said):
            one = {"sample_id": NAMES[number]}
            connection.execute(
                insert(answers).values(**one, **given, external_id=str(number), value=value)
            )
            connection.execute(insert(labels).values(**one, **settled, label=value))
            link = {"label_seq": number + 1, "answer_seq": number + 1}
            connection.execute(insert(label_answers).values(**link))
        save_watermark(connection, DRAWN, "0.2")
    put_in_audit(engine, NAMES[LABELLED : LABELLED + AUDIT])
    monkeypatch.setenv("HONE_WORKSPACE", str(place.root))
    return engine


def chosen(engine: Engine, **about: Any) -> pd.DataFrame:
    choose.choose_batch.fn("round-0001", SelectionConfig(**about), QUEUE, 0, 500)
    with engine.connect() as connection:
        return load_batch(connection, "round-0001").rows


def test_two_rounds_asked_for_at_once_are_two_and_a_killed_run_comes_back_to_its_own(
    engine: Engine, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = SelectionConfig(size=10)
    rounds_of: dict[str | None, str | None] = {}
    for run in ("run-a", None):
        monkeypatch.setattr(choose, "deployed_run", lambda run=run: run)
        rounds_of[run] = choose.choose_batch.fn(None, selection, QUEUE, 0, 500)
    assert rounds_of == {"run-a": "round-0001", None: "round-0002"}
    with engine.connect() as connection:
        assert {run: begun_round(connection, run) for run in rounds_of} == rounds_of


def test_second_looks_take_no_place_of_the_audit(engine: Engine, eyes: Eyes) -> None:
    batch = chosen(engine, size=50, strategy="margin", relabel_share=0.4, audit_share=0.1)
    counts = batch["reason"].value_counts()
    assert counts["relabel"] >= 15  # or this proves nothing
    assert counts["audit"] == 5
    assert set(batch.loc[batch["reason"] == "audit", "inclusion_probability"]) == {0.2}
    assert len(batch) == 50


def test_second_looks_take_no_place_of_a_quota_or_of_who_is_named(
    engine: Engine, eyes: Eyes
) -> None:
    promised = {"quotas": {"cat": 36}, "named": [NAMES[-1], NAMES[-3]], "audit_share": 0.1}
    batch = chosen(engine, size=50, strategy="margin", relabel_share=0.4, **promised)
    counts = batch["reason"].value_counts()
    assert counts.to_dict() == {"quota": 36, "relabel": 7, "audit": 5, "named": 2}


def test_the_audit_is_larger_while_a_verdict_lacks_audit_labels(
    engine: Engine, eyes: Eyes, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = Path(os.environ["HONE_WORKSPACE"], "hone.toml")
    configuration.write_text(configuration.read_text().replace("min_rows = 3", "min_rows = 50"))
    batch = chosen(engine, size=30, strategy="margin", audit_share=0.1)
    assert (batch["reason"] == "audit").sum() == 15
    assert set(batch.loc[batch["reason"] == "audit", "inclusion_probability"]) == {0.2}
    assert capsys.readouterr().out.splitlines()[-1] == (
        "A verdict needs 50 audit labels: 0 are labelled, 15 are asked for now, 35 are still "
        "missing, and only 5 more images are in this part of the audit: ingest more, or raise "
        "`share` in [audit] of hone.toml"
    )
    with engine.connect() as connection:
        assert connection.scalars(select(rounds.c.config)).one()["audit_share"] == 0.5


def test_one_place_stays_for_what_is_new(engine: Engine, eyes: Eyes) -> None:
    batch = chosen(engine, size=10, strategy="margin", relabel_share=1.0, audit_share=0)
    assert batch["reason"].value_counts().to_dict() == {"relabel": 9, "margin": 1}


def test_strategies_get_the_pool_without_the_audit(
    engine: Engine, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[int] = []

    def observed(candidates: pd.DataFrame, arrays: Pool, *given: Any, **named: Any) -> Any:
        pools.append(len(candidates))
        assert arrays.probs is not None and len(arrays.probs) == len(candidates)
        assert not set(candidates["sample_id"]) & set(NAMES[LABELLED : LABELLED + AUDIT])
        return select_batch(candidates, arrays, *given, **named)

    monkeypatch.setattr(choose, "select_batch", observed)
    batch = chosen(engine, size=30, strategy="margin", audit_share=0.1)
    assert pools == [POOL]
    asked = batch.loc[batch["reason"] == "audit", "sample_id"]
    assert sorted(asked) == NAMES[LABELLED : LABELLED + len(asked)]


def test_a_batch_that_takes_from_the_traffic_asks_for_enough_of_it_first(
    engine: Engine, eyes: Eyes
) -> None:
    served = NAMES[LABELLED + 10 : LABELLED + AUDIT]
    with writing(engine) as connection:
        for table in (samples, sample_states):
            mine = table.c.sample_id.in_(served)
            connection.execute(update(table).where(mine).values(origin="served"))
        settled = {"trust": 1.0, "annotators": ["ann"], "method": "majority", "settled_at": now()}
        for name in NAMES[LABELLED : LABELLED + 5]:  # enough for a verdict on the pool
            connection.execute(insert(labels).values(sample_id=name, label="cat", **settled))
    batch = chosen(engine, size=20, strategy="margin", audit_share=0.05, served_share=0.5)
    asked = batch.loc[batch["reason"] == "audit", "sample_id"].tolist()
    assert asked == served[:5]  # three for the gate, two for reports; 0.05 would be one


def test_a_raised_share_is_drawn_before_a_batch_is_chosen(engine: Engine, eyes: Eyes) -> None:
    configuration = Path(os.environ["HONE_WORKSPACE"], "hone.toml")
    configuration.write_text(configuration.read_text() + "[audit]\nshare = 0.5\n")
    with writing(engine) as connection:
        set_key(connection, b"a key")
    chosen(engine, size=10, strategy="margin")
    with engine.connect() as connection:
        drawn = set(connection.scalars(select(audit.c.sample_id)))
    below = {name for name in NAMES if audit_number(b"a key", name) < 0.5}
    assert drawn == below | set(NAMES[LABELLED : LABELLED + AUDIT])


def test_beside_an_empty_pool_the_audit_is_asked_about(engine: Engine, eyes: Eyes) -> None:
    with writing(engine) as connection:
        pool = samples.c.sample_id.in_(NAMES[LABELLED + AUDIT :])
        connection.execute(update(samples).where(pool).values(group_id=NAMES[LABELLED]))
    batch = chosen(engine, size=12, strategy="margin")
    assert batch["sample_id"].tolist() == NAMES[LABELLED : LABELLED + 12]


def test_where_chance_decides_the_model_is_asked_for_its_guesses_and_nothing_else(
    engine: Engine, eyes: Eyes
) -> None:
    batch = chosen(engine, size=20, strategy="random")
    assert set(eyes.asked) == set(batch["sample_id"])
    assert batch["pre_annotation"].isin(CLASSES).all() and set(batch["pre_annotation_model"]) == {
        "hone:1"
    }


def test_a_model_that_says_nothing_sound_does_not_keep_a_random_round_back(
    engine: Engine, eyes: Eyes
) -> None:
    eyes.probs[::3] = np.nan
    with pytest.raises(ValueError, match=r"not finite, .* choose at random"):
        chosen(engine, size=20, strategy="margin")
    batch = chosen(engine, size=20, strategy="random")
    is_sound = np.isfinite(eyes.probs[[NAMES.index(name) for name in batch["sample_id"]], 0])
    assert len(batch) == 20 and 0 < is_sound.sum() < 20
    assert (batch["pre_annotation"].notna() == is_sound).all()
    assert not batch.loc[~is_sound, "blind"].any()


def test_chance_that_was_given_promises_needs_to_see_the_pool(engine: Engine, eyes: Eyes) -> None:
    batch = chosen(engine, size=20, strategy="random", audit_share=0, quotas={"cat": 15})
    assert set(eyes.asked) == set(NAMES[LABELLED + AUDIT :])
    assert (batch.loc[batch["reason"] == "quota", "pre_annotation"] == "cat").sum() == 15


def test_second_looks_at_what_is_broken_are_refused_by_name(engine: Engine, eyes: Eyes) -> None:
    broken = LABELLED + AUDIT + 7
    eyes.embeddings[broken] = np.nan
    with pytest.raises(ValueError, match=f"not finite, the first is {NAMES[broken]}"):
        chosen(engine, size=20, strategy="margin", relabel_share=0.4)
