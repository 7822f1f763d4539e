from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, insert

from core import journal
from core.database import now, writing
from labeling.audit.asking import audit_batch, audit_to_ask, load_unasked
from labeling.ledger.tables import assignments, audit, labels, rounds, samples
from tests.labeling.databases import make_engine

# sample: number, part
DRAWN = {
    "a": (0.05, "gate"),
    "b": (0.01, "report"),
    "c": (0.03, "gate"),
    "served-d": (0.04, "report"),
    "served-e": (0.02, "gate"),
}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = make_engine(tmp_path, [*DRAWN, "other"])
    same = {"drawn_at": now(), "inclusion_probability": 0.2}
    about = {"strategy": "random", "seed": 0, "config": {}, "why": "test", "chosen_at": now()}
    with writing(engine) as connection:
        connection.execute(insert(rounds).values(round_id="round-0001", number=1, **about))
        for name, (number, part) in DRAWN.items():
            row = {"sample_id": name, "number": number, "part": part, **same}
            connection.execute(insert(audit).values(**row))
    return engine


def unasked(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return load_unasked(connection)["sample_id"].tolist()


def ask(engine: Engine, name: str, **values: Any) -> None:
    row = {"round_id": "round-0001", "sample_id": name, "position": 0, "reason": "audit"}
    with writing(engine) as connection:
        connection.execute(insert(assignments).values(**row, **values))


def test_who_was_not_asked_about_comes_by_number(engine: Engine) -> None:
    assert unasked(engine) == ["b", "served-e", "c", "served-d", "a"]


@pytest.mark.parametrize(
    ("name", "outcome", "is_left"),
    [("b", None, False), ("b", "skipped", False), ("b", "deleted", True)],
)
def test_who_was_asked_or_skipped_is_not_asked_again_but_after_a_deleted_task(
    engine: Engine, name: str, outcome: str | None, is_left: bool
) -> None:
    ask(engine, name, outcome=outcome, closed_at=None if outcome is None else now())
    assert (name in unasked(engine)) == is_left


def test_a_label_from_elsewhere_needs_no_question(engine: Engine) -> None:
    settled = {"label": "cat", "trust": 1.0, "annotators": ["ann"], "method": "majority"}
    with writing(engine) as connection:
        label = {"sample_id": "b", "settled_at": now(), **settled}
        connection.execute(insert(labels).values(**label))
    assert "b" not in unasked(engine)


def test_of_two_groups_that_became_one_the_lower_number_is_asked(engine: Engine) -> None:
    with writing(engine) as connection:
        journal.update(connection, samples, samples.c.sample_id == "c", group_id="a")
    assert unasked(engine) == ["b", "served-e", "c", "served-d"]
    ask(engine, "a")
    assert unasked(engine) == ["b", "served-e", "served-d"]


def test_rows_from_before_there_were_numbers_are_not_asked_again(engine: Engine) -> None:
    with writing(engine) as connection:
        row = {"sample_id": "other", "drawn_at": now(), "inclusion_probability": 0.1}
        connection.execute(insert(audit).values(**row))
    assert "other" not in unasked(engine)


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({}, "b served-e c served-d a"),
        ({"gate_missing": 2}, "served-e c b served-d a"),
        ({"gate_missing": 9}, "served-e c a b served-d"),
        ({"served_first": True}, "served-e served-d b c a"),
        ({"served_first": True, "gate_missing": 2}, "served-e c served-d b a"),
    ],
)
def test_the_gates_missing_labels_come_first_and_served_ones_in_answer_to_drift(
    engine: Engine, options: dict[str, Any], order: str
) -> None:
    with engine.connect() as connection:
        rows = load_unasked(connection)
    for places in range(7):
        asked = audit_to_ask(rows, places, **options)
        assert asked["sample_id"].tolist() == order.split()[:places]
        pd.testing.assert_index_equal(asked.columns, rows.columns)
    batch = audit_batch(audit_to_ask(rows, 2, **options)).rows
    assert batch["reason"].tolist() == ["audit"] * 2
    assert batch["inclusion_probability"].tolist() == [0.2] * 2


def test_lower_numbers_that_came_later_are_asked_first(engine: Engine) -> None:
    for name in ("b", "served-e"):
        ask(engine, name)
    with writing(engine) as connection:
        row = {"sample_id": "other", "drawn_at": now(), "inclusion_probability": 0.2}
        connection.execute(insert(audit).values(**row, number=0.0001, part="gate"))
    assert unasked(engine)[0] == "other"


def test_an_exhausted_audit_asks_about_nobody(engine: Engine) -> None:
    for name in DRAWN:
        ask(engine, name)
    with engine.connect() as connection:
        rows = load_unasked(connection)
    assert rows.empty
    assert len(audit_batch(audit_to_ask(rows, 5, gate_missing=3, served_first=True))) == 0
