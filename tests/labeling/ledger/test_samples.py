"""What is known of samples, and which stands beside another on the screen."""

from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import insert

from core.database import writing
from core.locks import only_writer
from labeling.batches.features import Features
from labeling.ledger.examples import most_similar_labelled
from labeling.ledger.gold import add_gold
from labeling.ledger.samples import (
    image_formats,
    load_image_places,
    original_paths,
    thumbnails_of,
)
from labeling.ledger.tables import sources
from tests.labeling.databases import make_engine
from tests.labeling.ledger.test_gold import label


def test_the_original_path_is_where_the_content_was_seen_first(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b", "c"])
    rows = [("/in/second.png", "a", "2026-02"), ("/in/first.png", "a", "2026-01"),
            ("/in/b.png", "b", "2026-01")]  # fmt: skip
    with writing(engine) as connection:
        connection.execute(
            insert(sources),
            [
                {"path": path, "sample_id": sample, "size": 1, "mtime_ns": 1, "seen_at": at}
                for path, sample, at in rows
            ],
        )
    with engine.connect() as connection:
        assert original_paths(connection) == {"a": "/in/first.png", "b": "/in/b.png"}
        assert set(image_formats(connection)) == {"a", "b", "c"}


def test_the_most_similar_is_labelled_and_never_gold(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b", "c"])
    with only_writer(engine, "answers") as token:
        add_gold(engine, token, pd.Series({"b": "cat"}, dtype=object), source="exam.csv")
    with engine.connect() as connection:
        assert most_similar_labelled(connection, ["a"]) == [None]
    label(engine, "c", "cat")
    with engine.connect() as connection:
        assert most_similar_labelled(connection, ["a"]) == ["c"]
        assert load_image_places(connection, ["c"])["sample_id"].tolist() == ["c"]


def test_the_most_similar_by_features_is_one_that_has_them(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["a", "b", "c", "d"])
    for name in ("b", "c", "d"):
        label(engine, name, "cat")
    rows = np.array([[1, 0], [0, 1], [1, 0.2], [1, 0]], np.float32)
    with engine.connect() as connection:
        by_thumbnails = most_similar_labelled(connection, ["a"])[0]
        cases = ((["a", "b", "c", "d"], "d"), (["a", "b", "c"], "c"), (["a"], by_thumbnails))
        for names, nearest in cases:
            features = Features(pd.Index(names), rows[: len(names)])
            assert most_similar_labelled(connection, ["a"], features) == [nearest]
        assert set(thumbnails_of(connection, ["a", "b", "x"])) == {"a", "b"}
