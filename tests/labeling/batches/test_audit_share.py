from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from core.database import writing
from core.locks import only_writer
from labeling.audit.asking import audit_batch, audit_to_ask, load_unasked
from labeling.audit.membership import draw_standing_audit, set_key
from labeling.audit.numbers import AuditPolicy
from labeling.batches.audit_share import audit_places, raise_audit_share
from labeling.batches.batch import Batch
from labeling.batches.candidates import candidates_of
from labeling.batches.select import SelectionConfig, select_batch, share_of
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.ledger import rounds
from labeling.ledger.answers import record_answers
from labeling.ledger.audit_progress import AuditProgress, load_audit_progress
from labeling.strategies.pool import Pool
from tests.labeling.databases import make_engine
from tests.labeling.ledger.test_answers import said

NEEDED = 30  # the gate's default
CLASSES = ["cat", "dog"]
POLICY = AuditPolicy()


def make(folder: Path, size: int) -> Engine:
    engine = make_engine(folder, [f"sample-{number:04}" for number in range(size)])
    with writing(engine) as connection:
        set_key(connection, b"a key")
        draw_standing_audit(connection, POLICY)
    return engine


def draw_round(engine: Engine, *, raised: bool) -> Batch:
    """One round with the defaults; return the batch as the ledger got it."""
    with only_writer(engine, "rounds") as token:
        with engine.connect() as connection:
            round_id, pool = rounds.new_round(connection), rounds.load_pool(connection)
            progress = load_audit_progress(connection, NEEDED)
            unasked = load_unasked(connection)
        config = SelectionConfig()
        if raised:
            missing = progress.missing_with_report(POLICY.report_share)
            size = len(pool) + len(unasked)
            config = raise_audit_share(config, missing=missing, pool_size=size)
        places = audit_places(config, pool_size=len(pool), unasked=len(unasked))
        asked = audit_to_ask(unasked, places, gate_missing=progress.missing)
        rng = np.random.default_rng(rounds.round_number(round_id))
        batch, rule = select_batch(
            candidates_of(pool), Pool(), config, rng, audit=audit_batch(asked)
        )
        with writing(engine) as connection:
            rounds.open_round(
                connection, token, round_id, batch, strategy=config.strategy,
                config=asdict(config), rule=rule, model=None, seed=0, why="test",
            )  # fmt: skip
        rounds.record_sent(engine, token, round_id, {key: key for key in batch.sample_ids})
    return batch


def audit_size(batch: Batch) -> int:
    return int((batch.rows["reason"] == "audit").sum())


def answer_all(engine: Engine, batch: Batch) -> None:
    answers = pd.DataFrame([said(sample_id, "ann", "cat") for sample_id in batch.sample_ids])
    with only_writer(engine, "answers") as token:
        record_answers(
            engine, token, answers, source="here", classes=CLASSES, read=set(batch.sample_ids)
        )
        settle_labels(engine, token, SettlePolicy(), CLASSES)


def progress_of(engine: Engine) -> AuditProgress:
    with engine.connect() as connection:
        return load_audit_progress(connection, NEEDED)


def labels_until_a_verdict(engine: Engine, *, raised: bool) -> tuple[int, list[Batch]]:
    """How many labels there are when a verdict is possible for the first time; the batches."""
    batches: list[Batch] = []
    while not progress_of(engine).verdict_possible:
        batches.append(draw_round(engine, raised=raised))
        answer_all(engine, batches[-1])
    return sum(map(len, batches)), batches


@pytest.mark.parametrize(("raised", "labels"), [(False, 300), (True, 100)])
def test_a_first_verdict_is_possible_after_two_rounds(
    tmp_path: Path, raised: bool, labels: int
) -> None:
    engine = make(tmp_path, 1000)
    total, batches = labels_until_a_verdict(engine, raised=raised)
    assert total == labels
    assert [audit_size(batch) for batch in batches] == ([25, 18] if raised else [5] * 6)
    if raised:  # and the reporting part has its share by then
        assert progress_of(engine).labelled == 30 and progress_of(engine).reported == 13


def test_a_round_after_the_verdict_is_possible_has_the_share_that_was_asked_for(
    tmp_path: Path,
) -> None:
    engine = make(tmp_path, 400)
    labels_until_a_verdict(engine, raised=True)
    assert audit_size(draw_round(engine, raised=True)) == 5


def test_open_audit_samples_are_not_asked_for_twice(tmp_path: Path) -> None:
    engine = make(tmp_path, 400)
    assert [audit_size(draw_round(engine, raised=True)) for _ in range(3)] == [25, 18, 5]
    progress = progress_of(engine)
    assert progress.labelled == 0 and progress.open + progress.report_open == 48


def test_an_exhausted_audit_leaves_its_places_to_the_strategy_and_says_so(tmp_path: Path) -> None:
    engine = make(tmp_path, 60)
    with engine.connect() as connection:
        drawn = len(load_unasked(connection))
    assert 5 < drawn < 25
    first, second = (draw_round(engine, raised=True) for _ in range(2))
    assert len(first) == 50 and audit_size(first) == drawn
    assert len(second) == 10 and audit_size(second) == 0
    progress = progress_of(engine)
    assert progress.exhausted and progress.left == 0
    assert "only 0 more images are in this part of the audit: ingest more" in progress.sentence()


def test_beside_an_empty_pool_all_places_are_the_audits() -> None:
    config = SelectionConfig(size=10, audit_share=0.1)
    assert audit_places(config, pool_size=0, unasked=40) == 10
    assert audit_places(config, pool_size=0, unasked=4) == 4
    assert audit_places(config, pool_size=5, unasked=3) == 1
    none = SelectionConfig(size=10, audit_share=0)
    assert audit_places(none, pool_size=0, unasked=40) == 0


@pytest.mark.parametrize(
    ("size", "share", "pool", "places"), [(3, 0.1, 47, 1), (50, 1.0, 160, 40), (50, 0.5, 5, 23)]
)
def test_a_share_is_of_the_batch_and_as_far_as_the_audit_goes(
    size: int, share: float, pool: int, places: int
) -> None:
    config = SelectionConfig(size=size, audit_share=share)
    assert audit_places(config, pool_size=pool, unasked=40) == places


@given(
    size=st.integers(1, 120),
    share=st.floats(0, 1),
    missing=st.integers(0, 100),
    pool_size=st.integers(1, 200),
)
def test_the_audit_covers_what_is_missing_and_never_more_than_half(
    size: int, share: float, missing: int, pool_size: int
) -> None:
    config = SelectionConfig(size=size, audit_share=share)
    raised = raise_audit_share(config, missing=missing, pool_size=pool_size)
    size = min(size, pool_size)
    before, after = share_of(size, share), share_of(size, raised.audit_share)
    assert after == (max(before, min(missing, size // 2)) if share else 0)


def test_places_of_named_and_quotas_are_not_taken() -> None:
    config = SelectionConfig(size=20, audit_share=0.1, named=["a", "b"], quotas={"cat": 12})
    raised = raise_audit_share(config, missing=50, pool_size=100)
    assert share_of(20, raised.audit_share) == 6
