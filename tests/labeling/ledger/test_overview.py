"""The counts that triggers keep are those of the tables, whatever is written in which order."""

import random
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, update

from core.database import connect, now, upgrade, writing
from labeling.ledger import overview
from labeling.ledger.tables import labels, refusals, row_counts, sample_states
from tests.labeling.databases import make_engine
from tests.labeling.ledger.random_writes import write_randomly


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_right_after_every_write(tmp_path: Path, seed: int) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    rng = random.Random(seed)
    for _ in range(60):
        with writing(engine) as connection:
            write_randomly(connection, rng)
        with engine.connect() as connection:
            assert list(overview.wrong_standings(connection)) == []
            assert overview.stored_counts(connection) == overview.computed_counts(connection)


def test_the_counts_have_names_that_say_what_they_are(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b", "served-c"])
    label = {"sample_id": "a", "label": "cat", "trust": 1.0, "annotators": [], "method": "single"}
    refused = {"path": "x", "size": 1, "mtime_ns": 1, "reason": "not: an image", "detail": ""}
    with writing(engine) as connection:
        connection.execute(insert(labels).values(**label, settled_at=now()))
        connection.execute(insert(refusals).values(**refused, refused_at=now()))
        counts = overview.ledger_counts(connection)
    assert counts == overview.LedgerCounts(
        samples=3, served_samples=1, pool=2, skipped=0, labels=1,
        audit=0, audit_labelled=0, audit_open=0, refused={"not: an image": 1}, refused_answers=0,
    )  # fmt: skip


def test_a_recount_mends_what_was_written_past_the_triggers(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b"])
    with writing(engine) as connection:
        connection.execute(update(row_counts).values(value=7))
        connection.execute(delete(sample_states).where(sample_states.c.sample_id == "a"))
        assert overview.ledger_counts(connection).pool != 2
        overview.recount(connection)
        assert overview.ledger_counts(connection).pool == 2
        assert list(overview.wrong_standings(connection)) == []
