from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, insert

from core import journal
from core.database import now, writing
from labeling.audit.numbers import Part
from labeling.audit.rows import (
    Population,
    audit_rows,
    of_part,
    rows_unseen_by,
    without_uncounted,
)
from labeling.ledger.tables import audit, labels
from tests.labeling.databases import make_engine

# sample: number (None: from before there were numbers), part, group
DRAWN: dict[str, tuple[float | None, str | None, str]] = {
    "a": (0.03, "gate", "a"),
    "b": (0.01, "report", "b"),
    "c": (0.02, "gate", "c"),
    "d": (0.04, "gate", "c"),  # a near-duplicate that connected two groups came later
    "served-1": (0.015, "gate", "served-1"),
    "served-2": (0.15, "gate", "served-2"),  # asked in answer to drift
}


def make(folder: Path, drawn: dict[str, Any], *, unlabelled: tuple[str, ...] = ()) -> Engine:
    groups = {name: group for name, (_, _, group) in drawn.items()}
    engine = make_engine(folder, [*drawn, "near-a", "other"], {**groups, "near-a": "a"})
    settled = {"label": "cat", "trust": 1.0, "annotators": ["ann"], "method": "majority"}
    with writing(engine) as connection:
        for name, (number, part, _) in drawn.items():
            row = {"sample_id": name, "number": number, "part": part, "drawn_at": now()}
            connection.execute(insert(audit).values(**row, inclusion_probability=0.2))
            if name not in unlabelled:
                label = {"sample_id": name, "settled_at": now(), **settled}
                connection.execute(insert(labels).values(**label))
    return engine


def names(engine: Engine, **options: Any) -> list[str]:
    with engine.connect() as connection:
        return audit_rows(connection, **options)["sample_id"].tolist()


def test_rows_come_by_number_each_group_once_and_those_asked_ahead_are_no_part_of_the_pool(
    tmp_path: Path,
) -> None:
    engine = make(tmp_path, DRAWN)
    assert names(engine) == ["b", "served-1", "c", "a"]
    assert names(engine, part=Part.GATE) == ["served-1", "c", "a"]
    assert names(engine, part=Part.REPORT) == ["b"]


def test_what_was_asked_ahead_is_in_the_pool_once_its_turn_has_come(tmp_path: Path) -> None:
    engine = make(tmp_path, {**DRAWN, "e": (0.19, "gate", "e")})
    assert names(engine) == ["b", "served-1", "c", "a", "served-2", "e"]


def test_the_traffic_is_the_groups_that_were_served(tmp_path: Path) -> None:
    engine = make(tmp_path, DRAWN)
    served = {"served-1", "served-2", "a"}
    traffic = {"population": Population.TRAFFIC, "served_groups": served}
    assert names(engine, **traffic) == ["served-1", "a", "served-2"]
    assert names(engine, part=Part.REPORT, **traffic) == []


def test_only_served_images_are_a_pool_too(tmp_path: Path) -> None:
    engine = make(tmp_path, {name: DRAWN[name] for name in ("served-1", "served-2")})
    assert names(engine) == ["served-1", "served-2"]


def test_rows_without_a_label_are_left_out(tmp_path: Path) -> None:
    engine = make(tmp_path, DRAWN, unlabelled=("a",))
    assert names(engine) == ["b", "served-1", "c"]


@pytest.mark.parametrize(("former", "count"), [(3, 6), (4, 8)])
def test_rows_from_before_count_until_the_standing_audit_has_more(
    tmp_path: Path, former: int, count: int
) -> None:
    old = [f"old-{place}" for place in range(former)]
    new = [f"new-{place}" for place in range(former)]
    drawn: dict[str, Any] = {name: (None, None, name) for name in old}
    drawn |= {name: (place / 100, "report", name) for place, name in enumerate(new)}
    engine = make(tmp_path, drawn)
    assert len(names(engine)) == count
    assert names(engine, part=Part.GATE) == old
    drawn["new-more"] = (0.19, "report", "new-more")
    (tmp_path / "more").mkdir()
    engine = make(tmp_path / "more", drawn)
    assert names(engine, part=Part.GATE) == []
    assert len(names(engine)) == former + 1


def test_a_label_of_a_class_that_was_added_counts_like_any_other(tmp_path: Path) -> None:
    engine = make(tmp_path, DRAWN)
    with writing(engine) as connection:
        journal.update(connection, labels, labels.c.sample_id == "a", label="elk")
        assert dict(audit_rows(connection)[["sample_id", "label"]].to_numpy())["a"] == "elk"
        assert len(audit_rows(connection)) == 4


def test_rows_of_a_snapshot_are_divided_alike(tmp_path: Path) -> None:
    engine = make(tmp_path, DRAWN)
    with engine.connect() as connection:
        rows = audit_rows(connection).drop(columns=["number", "part"]).assign(right=True)
        divided = of_part(connection, rows.sample(frac=1, random_state=0), part=Part.GATE)
        assert divided["sample_id"].tolist() == ["served-1", "c", "a"]
        assert divided["right"].all()
        empty = of_part(connection, rows[:0])
    assert list(empty.columns) == list(divided.columns) and empty.empty


def test_a_snapshot_keeps_the_audit_rows_that_count(tmp_path: Path) -> None:
    engine = make(tmp_path, DRAWN)
    split = dict.fromkeys(DRAWN, "test") | {"near-a": "held", "other": "train"}
    group = {name: drawn[2] for name, drawn in DRAWN.items()}
    table = pd.DataFrame({"sample_id": list(split), "split": list(split.values())})
    table = table.assign(group_id=table["sample_id"].map(group), origin="ingest")
    table.loc[table["sample_id"].str.startswith("served"), "origin"] = "served"
    with engine.connect() as connection:
        left = without_uncounted(connection, table)
        gate = without_uncounted(connection, table, part=Part.GATE)
    assert set(table["sample_id"]) - set(left["sample_id"]) == {"d", "served-2"}
    assert set(left["sample_id"]) - set(gate["sample_id"]) == {"b"}


def test_what_resembles_a_trained_sample_is_no_row_to_judge_by(tmp_path: Path) -> None:
    engine = make(tmp_path, DRAWN)
    with engine.connect() as connection:
        rows = audit_rows(connection)
        left = rows_unseen_by(connection, rows, ["near-a", "other"])
        assert left["sample_id"].tolist() == ["b", "served-1", "c"]
        pd.testing.assert_frame_equal(rows_unseen_by(connection, rows, []), rows)
