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
from labeling.batches.audit_share import raise_audit_share
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

NEEDED = 50  # the gate's default
CLASSES = ["cat", "dog"]


def draw_round(engine: Engine, *, raised: bool) -> Batch:
    """One round with the defaults; return the batch as the ledger got it."""
    with only_writer(engine, "rounds") as token:
        with engine.connect() as connection:
            round_id, pool = rounds.new_round(connection), rounds.load_pool(connection)
            progress = load_audit_progress(connection, NEEDED)
        config = SelectionConfig()
        if raised:
            config = raise_audit_share(config, missing=progress.missing, pool_size=len(pool))
        rng = np.random.default_rng(rounds.round_number(round_id))
        batch, rule = select_batch(candidates_of(pool), Pool(), config, rng)
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


def labels_until_a_verdict(engine: Engine, *, raised: bool) -> tuple[int, list[Batch]]:
    """How many labels there are when a verdict is possible for the first time; the batches."""
    batches: list[Batch] = []
    while True:
        batches.append(draw_round(engine, raised=raised))
        answer_all(engine, batches[-1])
        with engine.connect() as connection:
            if load_audit_progress(connection, NEEDED).verdict_possible:
                return sum(map(len, batches)), batches


@pytest.mark.parametrize(("raised", "labels"), [(False, 500), (True, 100)])
def test_a_first_verdict_is_possible_after_two_rounds_not_ten(
    tmp_path: Path, raised: bool, labels: int
) -> None:
    engine = make_engine(tmp_path, [f"sample-{number:04}" for number in range(1000)])
    total, batches = labels_until_a_verdict(engine, raised=raised)
    assert total == labels
    audits = [audit_size(batch) for batch in batches]
    assert audits == ([25, 25] if raised else [5] * 10)
    for drawn_before, batch in enumerate(batches):
        pool = 1000 - 50 * drawn_before
        audit = batch.rows[batch.rows["reason"] == "audit"]
        assert set(audit["inclusion_probability"]) == {len(audit) / pool}
        assert audit["draws_from"].tolist() == list(range(pool, pool - len(audit), -1))
        assert np.allclose(audit["draw_probability"], 1 / audit["draws_from"])


def test_a_round_after_the_verdict_is_possible_has_the_share_that_was_asked_for(
    tmp_path: Path,
) -> None:
    engine = make_engine(tmp_path, [f"sample-{number:04}" for number in range(300)])
    labels_until_a_verdict(engine, raised=True)
    batch = draw_round(engine, raised=True)
    assert audit_size(batch) == 5


def test_open_audit_samples_are_not_asked_for_twice(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [f"sample-{number:04}" for number in range(300)])
    audits = [audit_size(draw_round(engine, raised=True)) for _ in range(3)]
    assert audits == [25, 25, 5]
    with engine.connect() as connection:
        assert load_audit_progress(connection, NEEDED) == AuditProgress(50, labelled=0, open=55)


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
