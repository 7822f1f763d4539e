"""Metadata: stored once, replaced by what differs, bounded; and the slices that come of it."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from core.database import writing
from labeling.ledger.metadata import (
    MOST_COLUMNS,
    MOST_SLICES,
    MetadataCounts,
    SliceCounts,
    count_slices,
    metadata_columns,
    metadata_of,
    save_metadata,
    slice_columns,
)
from labeling.ledger.tables import sources
from tests.labeling.databases import make_engine, put_in_audit
from tests.labeling.ledger.test_gold import label


def save(engine: Engine, given: dict[str, dict[str, str]]) -> MetadataCounts:
    with writing(engine) as connection:
        return save_metadata(connection, given)


def test_a_value_is_stored_once_and_one_that_differs_replaces_it(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b"])
    first = {"a": {"lens": "35", "site": "x"}, "b": {"lens": "50"}}
    assert save(engine, first) == MetadataCounts(3, 0, 0)
    assert save(engine, first) == MetadataCounts(0, 0, 3)
    assert save(engine, {"a": {"lens": "85"}}) == MetadataCounts(0, 1, 0)
    with engine.connect() as connection:
        assert metadata_of(connection, ["a", "b"]) == {
            "a": {"lens": "85", "site": "x"}, "b": {"lens": "50"}
        }  # fmt: skip
        assert metadata_columns(connection) == ["lens", "site"]


def test_more_columns_than_are_stored_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a"])
    save(engine, {"a": {f"c{number}": "1" for number in range(MOST_COLUMNS)}})
    with pytest.raises(ValueError, match=f"{MOST_COLUMNS + 1} columns of metadata, at most"):
        save(engine, {"a": {"c0": "2", "one_more": "1"}})
    with engine.connect() as connection:
        assert metadata_of(connection, ["a"])["a"]["c0"] == "1"


def test_what_is_known_anyway_is_a_slice_too(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b", "served-c"])
    path = {"sample_id": "a", "size": 1, "mtime_ns": 1, "seen_at": "2026"}
    with writing(engine) as connection:
        connection.execute(insert(sources), [{**path, "path": "/in/north/1.png"}])
    save(engine, {"b": {"lens": "50"}})
    with engine.connect() as connection:
        columns = slice_columns(connection, ["served-c", "a", "b"])
    assert columns["folder"] == [None, "/in/north", None]
    assert columns["origin"] == ["served", "ingest", "ingest"]
    assert columns["lens"] == [None, None, "50"]
    assert len(set(columns["month"])) == 1 and set(columns) == {"folder", "origin", "lens", "month"}


def test_of_a_column_the_most_frequent_values_are_slices(tmp_path: Path) -> None:
    names = [f"{number:03}" for number in range(2 * MOST_SLICES + 2)]
    engine = make_engine(tmp_path, names)
    save(engine, {name: {"lens": f"{place // 2:02}"} for place, name in enumerate(names)})
    with engine.connect() as connection:
        values = slice_columns(connection, names)["lens"]
    assert values[-2:] == [None, None] and len(set(values[:-2])) == MOST_SLICES


def test_slices_are_counted_with_their_labels(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b", "c"])
    save(
        engine,
        {name: {"lens": value} for name, value in zip("abc", ("50", "50", "35"), strict=True)},
    )
    put_in_audit(engine, ["a", "c"])
    label(engine, "a", "cat")
    label(engine, "b", "cat")
    with engine.connect() as connection:
        assert count_slices(connection) == [
            SliceCounts("lens", "50", 2, 2, 1), SliceCounts("lens", "35", 1, 0, 0)
        ]  # fmt: skip
