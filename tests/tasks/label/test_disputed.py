"""Images whose confirmed truths differ come first in a batch, a few at a time."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from labeling.batches.select import SelectionConfig
from models.watching.outcome_queries import disputed_samples, outcome_counts
from tasks.label.disputed import with_disputed
from tests.models.watching.feedback_given import make_engine, record, serve, truth


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Five served images; people differ about the first four."""
    engine = make_engine(tmp_path, ["cat"] * 5)
    for number in range(1, 5):
        record(engine, truth(number, "dog", "ada"), truth(number, "eel", "ben"))
    record(engine, truth(5, "dog", "ada"))
    return engine


def named(engine: Engine, config: SelectionConfig) -> list[str]:
    with engine.connect() as connection:
        pool = {f"sample {number}" for number in (1, 2, 3, 5)}
        return list(with_disputed(connection, config, pool).named)


def test_disputed_images_of_the_pool_come_first_the_newest_of_them(engine):
    assert named(engine, SelectionConfig(size=20)) == ["sample 3", "sample 2"]
    assert named(engine, SelectionConfig(size=50)) == ["sample 3", "sample 2", "sample 1"]


def test_they_take_no_place_that_is_promised_and_none_twice(engine):
    full = SelectionConfig(size=10, audit_share=0.0, named=[str(n) for n in range(10)])
    assert named(engine, full) == list(full.named)
    assert named(engine, SelectionConfig(size=20, named=["sample 3"])) == [
        "sample 3", "sample 2", "sample 1",
    ]  # fmt: skip
    assert named(engine, SelectionConfig(size=5)) == []


def test_weak_truths_that_differ_take_no_places(engine):
    """Two users who click otherwise must not spend the annotators' time."""
    serve(engine, ["cat"], first=6)
    weak = [truth(6, value, who, strength="weak") for value, who in (("dog", "x"), ("eel", "y"))]
    record(engine, *weak)
    with engine.connect() as connection:
        assert "sample 6" not in disputed_samples(connection, 10)
        assert outcome_counts(connection).disputed == 5
