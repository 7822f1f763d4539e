"""Outcomes since the last check, for the signals about them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tasks.watch.judged import new_judged
from tests.models.watching.feedback_given import CLASSES, make_engine, record, serve, truth

MODEL = cast(
    Any,
    SimpleNamespace(
        version="hone:0001-a",
        network=SimpleNamespace(output_width=3),
        card=SimpleNamespace(classes=CLASSES),
    ),
)


def test_each_outcome_is_judged_once_and_again_when_it_changes(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["cat", "cat", "cat"])
    record(engine, truth(1, "dog"), truth(2, "cat"), truth(3, "cat", strength="weak"))
    with engine.connect() as connection:
        judged, number = new_judged(connection, MODEL, 0)
        assert judged is not None
        assert judged.truths.tolist() == [1, 0] and judged.outputs.shape == (2, 3)
        assert new_judged(connection, MODEL, number) == (None, number)
    record(engine, truth(1, "eel", under="later"))
    with engine.connect() as connection:
        judged, _ = new_judged(connection, MODEL, number)
    assert judged is not None and judged.truths.tolist() == [2]


def test_more_outcomes_than_fit_wait_for_the_next_check(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tasks.watch.judged.MOST", 2)
    engine = make_engine(tmp_path, ["cat"] * 5)
    record(engine, *(truth(number, "dog") for number in range(1, 6)))
    taken, number = [], 0
    with engine.connect() as connection:
        while (part := new_judged(connection, MODEL, number))[0] is not None:
            number = part[1]
            taken.append(len(part[0].truths))
    assert taken == [2, 2, 1]


def test_outcomes_of_another_model_and_of_broken_rows_are_left_out(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, ["cat"])
    serve(engine, ["cat"], first=2, model="hone:0000-old")
    serve(engine, ["cat"], first=3, probabilities=[1.0])
    serve(engine, ["cat"], first=4, probabilities=[0.5, None, 0.5])
    serve(engine, ["cat"], first=5, probabilities=["much", 0.5, 0.5])
    record(engine, *(truth(number, "dog") for number in range(1, 6)))
    with engine.connect() as connection:
        judged, _ = new_judged(connection, MODEL, 0)
    assert judged is not None and len(judged.truths) == 1
