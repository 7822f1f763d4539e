"""Counts out of indexes agree with the rows that they stand for."""

import pandas as pd
import pytest
from sqlalchemy import Engine, event, update

from core.database import writing
from core.locks import only_writer
from labeling.ledger import counts, rounds
from labeling.ledger.gold import add_gold
from labeling.ledger.tables import assignments, samples
from tests.labeling.ledger.test_rounds import IDS, answer, choose, engine, send

__all__ = ["engine"]


def add_labels(engine: Engine, sample_ids: list[str]) -> None:
    with only_writer(engine, "answers") as token:
        add_gold(engine, token, pd.Series("cat", index=sample_ids), source="test")


def set_outcome(engine: Engine, sample_id: str, outcome: str) -> None:
    mine = assignments.c.sample_id == sample_id
    with writing(engine) as connection:
        connection.execute(update(assignments).where(mine).values(closed_at="x", outcome=outcome))


def test_the_pool_is_counted_as_it_is_loaded(engine: Engine) -> None:
    def check(expected: int) -> None:
        with engine.connect() as connection:
            pool = rounds.load_pool(connection)
            assert counts.count_pool(connection) == len(pool) == expected

    check(20)
    batch = choose(engine, size=6, audit_share=0.5)
    send(engine, "round-0001", batch)
    audited = list(batch.loc[batch["reason"] == "audit", "sample_id"])
    chosen = [name for name in batch["sample_id"] if name not in audited]
    twins = len({"sample-00", "sample-01"} & set(audited)) == 1
    check(14 - twins)
    set_outcome(engine, chosen[0], "skipped")
    check(14 - twins)  # skipped: not asked about again
    set_outcome(engine, chosen[1], "deleted")
    check(15 - twins)
    add_labels(engine, [chosen[0], chosen[2]])  # a label beside a skip is counted once
    check(15 - twins)
    answer(engine, audited[0])
    check(15 - twins)
    with engine.connect() as connection:
        assert counts.count_samples(connection) == len(IDS)
        assert counts.count_skipped(connection) == 0
        assert counts.count_labels(connection) == 3


def test_what_resembles_an_audit_sample_is_not_in_the_pool(engine: Engine) -> None:
    batch = choose(engine, size=2, audit_share=0.5)
    (audited,) = batch.loc[batch["reason"] == "audit", "sample_id"]
    near = [name for name in IDS if name not in list(batch["sample_id"])][:3]
    with writing(engine) as connection:
        mine = samples.c.sample_id.in_([audited, *near])
        connection.execute(update(samples).where(mine).values(group_id=audited))
    with engine.connect() as connection:
        expected = len(rounds.load_pool(connection))
        assert counts.count_pool(connection) == expected <= 15


@pytest.mark.parametrize("count", [counts.count_pool, counts.count_skipped])
def test_no_table_of_assignments_is_read_from_end_to_end(engine: Engine, count) -> None:
    statements: list[tuple[str, object]] = []
    event.listen(
        engine,
        "before_cursor_execute",
        lambda c, cursor, sql, given, *_: statements.append((sql, given)),
    )
    with engine.connect() as connection:
        count(connection)
        plans = [
            str(step)
            for sql, given in list(statements)
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)
        ]
    assert plans
    assert not [step for step in plans if "SCAN assignments" in step and "USING" not in step]
