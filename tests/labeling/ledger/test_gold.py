from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, insert, select

from core.database import now, writing
from core.locks import LockLost, Token, only_writer
from labeling.ledger.gold import add_gold, gold_labels
from labeling.ledger.tables import labels
from tests.labeling.databases import make_engine
from tests.labeling.formats.workspaces import make_house, put_pictures


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path, ["a", "b", "c"])


def add(engine: Engine, truths: dict[str, str], source: str = "exam.csv") -> int:
    with only_writer(engine, "answers") as token:
        return add_gold(engine, token, pd.Series(truths, dtype=object), source=source)


def history(engine: Engine) -> list[tuple[str, str, str, bool]]:
    with engine.connect() as connection:
        rows = connection.execute(select(labels).order_by(labels.c.seq)).all()
    return [(row.sample_id, row.label, row.method, row.replaced_at is None) for row in rows]


def label(engine: Engine, sample_id: str, value: str) -> None:
    row = {"trust": 0.9, "annotators": ["ann"], "method": "majority"}
    with writing(engine) as connection:
        connection.execute(
            insert(labels).values(sample_id=sample_id, label=value, settled_at=now(), **row)
        )


def test_gold_is_the_label_in_force(engine: Engine) -> None:
    assert add(engine, {"a": "cat", "b": "dog"}) == 2
    with engine.connect() as connection:
        assert gold_labels(connection).to_dict() == {"a": "cat", "b": "dog"}
        row = connection.execute(select(labels).where(labels.c.sample_id == "a")).one()
    assert (row.trust, row.annotators) == (1.0, ["exam.csv"])


def test_the_same_gold_again_changes_nothing(engine: Engine) -> None:
    add(engine, {"a": "cat"})
    before = history(engine)
    assert add(engine, {"a": "cat"}) == 0
    assert history(engine) == before


def test_what_was_the_label_before_stays_as_history(engine: Engine) -> None:
    label(engine, "a", "dog")
    add(engine, {"a": "cat"})
    add(engine, {"a": "dog"})
    assert history(engine) == [
        ("a", "dog", "majority", False), ("a", "cat", "gold", False), ("a", "dog", "gold", True)
    ]  # fmt: skip


def test_a_label_of_the_same_class_rests_on_the_truth_from_now_on(engine: Engine) -> None:
    label(engine, "a", "cat")
    add(engine, {"a": "cat"})
    assert history(engine) == [("a", "cat", "majority", False), ("a", "cat", "gold", True)]


def test_no_gold_is_an_empty_series(engine: Engine) -> None:
    assert add(engine, {}) == 0
    with engine.connect() as connection:
        assert gold_labels(connection).empty


def test_a_writer_that_was_overtaken_writes_nothing(engine: Engine) -> None:
    with only_writer(engine, "answers") as token:
        old = Token(token.name, token.number - 1)
        with pytest.raises(LockLost):
            add_gold(engine, old, pd.Series({"a": "cat"}), source="exam.csv")
    assert history(engine) == []


def test_an_audit_sample_never_becomes_gold(tmp_path: Path) -> None:
    house = make_house(tmp_path / "workspace")
    put_pictures(tmp_path, "a.png", "b.png")
    first = tmp_path / "first.csv"
    first.write_text("image,label\na.png,cat\n")
    house.take(first)
    (sample_id,) = house.labels()
    house.measure(sample_id)
    with pytest.raises(ValueError, match="is in the audit"):
        add(house.engine, {sample_id: "cat"})
    exam = tmp_path / "exam.csv"
    exam.write_text("image,label\na.png,cat\nb.png,dog\n")
    done = house.take(exam, gold=True)
    assert (done["new"], done["refused"]) == (1, {"AUDIT_SAMPLE": 1})
    assert "measures the model" in done["problems"][0]
    with house.engine.connect() as connection:
        assert list(gold_labels(connection)) == ["dog"]


def test_people_who_disagree_tell_no_truth(tmp_path: Path) -> None:
    house = make_house(tmp_path / "workspace")
    put_pictures(tmp_path, "a.png", "b.png")
    exam = tmp_path / "exam.csv"
    exam.write_text("image,label,annotator\na.png,cat,ann\na.png,dog,ben\nb.png,cat,ann\n")
    done = house.take(exam, gold=True)
    assert (done["new"], done["refused"]) == (1, {"TWO_LABELS": 2})
    assert house.take(exam, gold=True)["new"] == 0
    assert house.answers() == []
