"""Weak truths in a snapshot: with less weight, capped, never of what is measured on."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update

from core.database import connect, writing
from labeling.ledger.reasons import SampleState
from labeling.ledger.tables import sample_states
from labeling.snapshots.table import SOFT_COLUMNS, SnapshotConfig, build_table
from models.watching.outcome_queries import WeakTruth
from models.watching.outcomes import ClassNames, record_outcomes
from models.watching.signals import WatchPolicy
from tasks.collect.weak_truths import capped, with_weak_truths
from tasks.soft_rows import SoftChoice
from tests.labeling.databases import make_engine
from tests.models.watching.feedback_given import CLASSES, prediction_id, serve, truth
from tests.tasks.operate.sound_workspace import AUDITED, make_sound_workspace

OFF = SoftChoice(None, "the pool is not trained on")


def weak(engine: Engine, *given: tuple[str, str, str]) -> None:
    """Images with what was served and what a user says of each."""
    for number, (sample_id, label, value) in enumerate(given, start=1):
        serve(engine, [label], first=number, sample_id=sample_id)
        with writing(engine) as connection:
            one = truth(number, value, strength="weak")
            record_outcomes(connection, [one], ClassNames(CLASSES))


def choose(engine: Engine, chosen: SoftChoice = OFF, **policy: Any) -> SoftChoice:
    with engine.connect() as connection:
        return with_weak_truths(
            connection, chosen, WatchPolicy(**policy), list(CLASSES), soft_weight=0.5
        )  # fmt: skip


def test_a_weak_truth_is_a_soft_row_with_the_weight_of_the_policy(tmp_path: Path):
    engine = make_engine(tmp_path, ["a", "b"])
    weak(engine, ("a", "cat", "dog"), ("b", "cat", "eel"))
    chosen = choose(engine, weak_weight=0.2)
    assert chosen.rows is not None
    assert chosen.rows["trust"].tolist() == [0.4, 0.4]  # times the soft weight of 0.5
    assert [json.loads(text)["dog"] for text in chosen.rows["probs"]] == [1.0, 0.0]
    assert "2 weak truths" in chosen.why
    assert choose(engine, weak_weight=0.0) == OFF


def test_a_weak_truth_replaces_a_guess(tmp_path: Path):
    engine = make_engine(tmp_path, ["a", "b"])
    weak(engine, ("a", "cat", "dog"))
    guesses = pd.DataFrame(
        [["a", "cat", 0.9, "guess", "{}"], ["b", "cat", 0.9, "guess", "{}"]], columns=SOFT_COLUMNS
    )
    chosen = choose(engine, SoftChoice(guesses, "two"))
    assert chosen.rows is not None
    assert dict(zip(chosen.rows["sample_id"], chosen.rows["label"], strict=True)) == {
        "a": "dog", "b": "cat",
    }  # fmt: skip


def test_a_disputed_or_confirmed_image_is_no_weak_row(tmp_path: Path):
    engine = make_engine(tmp_path, ["a", "b", "c"])
    weak(engine, ("a", "cat", "dog"), ("b", "cat", "dog"), ("c", "cat", "dog"))
    with writing(engine) as connection:
        more = [truth(1, "eel", "ben", strength="weak"), truth(2, "eel", "ben")]
        record_outcomes(connection, more, ClassNames(CLASSES))
    chosen = choose(engine)
    assert chosen.rows is not None and chosen.rows["sample_id"].tolist() == ["c"]


def test_corrections_that_have_a_label_make_no_room_for_approvals(tmp_path: Path):
    engine = make_engine(tmp_path, ["a", "b", "c"])
    weak(engine, ("a", "cat", "cat"), ("b", "cat", "dog"), ("c", "cat", "dog"))
    every = choose(engine, repeats_share=0.5).rows
    assert every is not None and len(every) == 3
    with writing(engine) as connection:
        asked = sample_states.c.sample_id.in_(["b", "c"])
        state = {"state": str(SampleState.LABELLED)}
        connection.execute(update(sample_states).where(asked).values(**state))
    assert choose(engine, repeats_share=0.5) == OFF


def test_a_weak_row_of_what_is_measured_on_stays_out_of_the_snapshot(tmp_path: Path):
    """Of an audit sample, of one that has a label, and of one that is not here."""
    workspace = make_sound_workspace(tmp_path / "work")
    engine = connect(workspace.database)
    rows = pd.DataFrame(
        [[name, "dog", 1.0, "x", json.dumps({"dog": 1.0})] for name in (AUDITED, "a", "gone")],
        columns=SOFT_COLUMNS,
    )
    table = build_table(engine, SnapshotConfig(), rows).to_pandas()
    assert not (table["split"] == "soft").any()


TRUTHS = st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=40)


@given(TRUTHS, st.floats(0, 1))
def test_of_each_day_at_most_the_share_repeats(rows: list[tuple[str, bool]], share: float):
    truths = [
        WeakTruth(f"{number:03}", "cat", day, repeats, prediction_id(number))
        for number, (day, repeats) in enumerate(rows)
    ]
    taken, left = capped(truths, share)
    assert len(taken) + left == len(truths)
    assert [one for one in truths if not one.repeats] == sorted(
        (one for one in taken if not one.repeats), key=lambda one: one.sample_id
    )
    for day in "ab":
        mine = [one for one in taken if one.day == day]
        assert sum(one.repeats for one in mine) <= share * len(mine) + 1e-6


def test_truths_that_all_repeat_teach_nothing():
    truths = [WeakTruth(str(n), "cat", "2026-01-01", True, "p") for n in range(9)]
    assert capped(truths, 0.5) == ([], 9)
    assert len(capped(truths, 1.0)[0]) == 9
