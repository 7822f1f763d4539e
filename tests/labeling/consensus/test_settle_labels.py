"""From answers to labels, over a real ledger: who is asked again, what is disputed, what ends."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, select

from core.database import writing
from core.locks import only_writer
from labeling.batches.batch import Batch
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels, unanswered
from labeling.ledger import overview, rounds
from labeling.ledger.answers import ANSWER_COLUMNS, record_answers
from labeling.ledger.gold import add_gold
from labeling.ledger.settlement import load_ledger_state
from labeling.ledger.tables import assignments, labels
from labeling.ledger.tables import rounds as round_table
from tests.labeling.databases import make_engine

CLASSES = ["cat", "dog", "newt"]
POLICY = SettlePolicy(ask_again=1)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path, ["a", "b", "c", "g"])


def choose(
    engine: Engine, *samples: str, reason: str = "margin", number: int = 1, **more: Any
) -> str:
    """Open a round with these samples."""
    batch = Batch.of(samples, reason=reason, **more)
    round_id = rounds.round_name(number)
    with only_writer(engine, "rounds") as token, writing(engine) as connection:
        rounds.open_round(
            connection, token, round_id, batch,
            strategy=reason, config={}, model=None, seed=0, why="test",
        )  # fmt: skip
    return round_id


def send(engine: Engine, round_id: str, *samples: str) -> None:
    """Record that these samples of a round are before annotators."""
    with only_writer(engine, "rounds") as token:
        rounds.record_sent(engine, token, round_id, {key: f"task {key}" for key in samples})


def ask(engine: Engine, *samples: str, reason: str = "margin", number: int = 1, **more: Any) -> str:
    """Open a round with these samples and send it."""
    round_id = choose(engine, *samples, reason=reason, number=number, **more)
    send(engine, round_id, *samples)
    return round_id


def answer(
    engine: Engine,
    sample: str,
    who: str,
    value: str | None,
    *,
    kind: str = "answer",
    number: int = 1,
    policy: SettlePolicy = POLICY,
) -> dict[str, int]:
    """Somebody answers, and the labels are settled."""
    round_id = rounds.round_name(number)
    key = f"{sample}:{round_id}:{who}"
    said = ["here", key, sample, who, kind, value, 1.0, f"{kind} {value}", round_id]
    with only_writer(engine, "answers") as token:
        record_answers(
            engine, token, pd.DataFrame([said], columns=ANSWER_COLUMNS),
            source="here", read=set(), classes=CLASSES,
        )  # fmt: skip
        return settle_labels(engine, token, policy, CLASSES)


def assignment(engine: Engine, sample: str, number: int = 1) -> Any:
    mine = assignments.c.sample_id == sample, assignments.c.round_id == rounds.round_name(number)
    with engine.connect() as connection:
        return connection.execute(select(assignments).where(*mine)).one()


def history(engine: Engine, sample: str) -> list[tuple[str, str, bool]]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(labels).where(labels.c.sample_id == sample).order_by(labels.c.seq)
        )
        return [(row.label, row.method, row.replaced_at is None) for row in rows]


def in_force(engine: Engine, sample: str) -> str | None:
    return next((label for label, _, now in history(engine, sample) if now), None)


def is_open(engine: Engine, number: int = 1) -> bool:
    mine = round_table.c.round_id == rounds.round_name(number)
    with engine.connect() as connection:
        return connection.scalar(select(round_table.c.closed_at).where(mine)) is None


def test_two_who_disagree_are_asked_for_a_third_and_then_for_a_final_word(engine):
    ask(engine, "a", required_annotators=2)
    assert answer(engine, "a", "ann", "cat")["asked again"] == 0, "the second one was not heard yet"
    assert answer(engine, "a", "ben", "dog")["asked again"] == 1
    row = assignment(engine, "a")
    assert (row.required_annotators, row.asked_again, row.disputed_at, row.closed_at) == (
        3,
        1,
        None,
        None,
    )
    assert in_force(engine, "a") is None, "one of the two is wrong"

    counts = answer(engine, "a", "cem", "newt")
    assert (counts["asked again"], counts["disputed"]) == (0, 1)
    assert assignment(engine, "a").disputed_at is not None
    assert answer(engine, "b", "ann", "cat")["disputed"] == 0, "once is enough"

    answer(engine, "a", "dee", "dog")
    assert history(engine, "a")[-1] == ("dog", "verdict", True), "who answers now decides"
    assert assignment(engine, "a").outcome == "labelled"
    assert not is_open(engine)
    answer(engine, "a", "eve", "cat")
    assert in_force(engine, "a") is None, "two who decide must agree"
    assert assignment(engine, "a").closed_at is None


def test_a_third_who_agrees_settles_it(engine):
    ask(engine, "a", required_annotators=2)
    answer(engine, "a", "ann", "cat")
    answer(engine, "a", "ben", "dog")
    answer(engine, "a", "cem", "dog")
    assert in_force(engine, "a") == "dog"
    assert assignment(engine, "a").outcome == "labelled"


def test_an_overlap_stays_open_until_everybody_wanted_has_answered(engine):
    ask(engine, "a", required_annotators=2)
    answer(engine, "a", "ann", "cat")
    assert in_force(engine, "a") == "cat", "training need not wait for the overlap"
    assert assignment(engine, "a").closed_at is None
    answer(engine, "a", "ann", "cat", kind="answer")
    assert assignment(engine, "a").closed_at is None, "one person twice is one person"
    answer(engine, "a", "ben", "cat")
    assert assignment(engine, "a").outcome == "labelled"


def test_a_late_answer_that_disagrees_opens_the_question_again(engine):
    ask(engine, "a")
    answer(engine, "a", "ann", "cat")
    assert (in_force(engine, "a"), is_open(engine)) == ("cat", False)
    counts = answer(engine, "a", "ben", "dog")
    assert (counts["withdrawn"], counts["asked again"]) == (1, 1)
    assert assignment(engine, "a").closed_at is None
    assert is_open(engine)
    assert history(engine, "a")[0][2] is False, "what was said before is kept"


def test_answers_to_gold_never_touch_its_label(engine):
    with only_writer(engine, "answers") as token:
        add_gold(engine, token, pd.Series({"g": "newt"}), source="import:truths.csv")
    ask(engine, "g", reason="gold")
    counts = answer(engine, "g", "ann", "cat")
    assert {"settled": 0, "changed": 0, "withdrawn": 0, "asked again": 0}.items() <= counts.items()
    answer(engine, "g", "ben", "cat", kind="verdict")
    assert history(engine, "g") == [("newt", "gold", True)]
    assert assignment(engine, "g").outcome == "labelled"


def test_gold_asked_anew_waits_for_an_answer_in_its_own_round(engine):
    with only_writer(engine, "answers") as token:
        add_gold(engine, token, pd.Series({"g": "newt"}), source="import:truths.csv")
    ask(engine, "g", reason="gold")
    answer(engine, "g", "ann", "newt")
    ask(engine, "g", reason="gold", number=2)
    answer(engine, "b", "ann", "cat")
    assert assignment(engine, "g", 2).closed_at is None
    answer(engine, "g", "ann", "newt", number=2)
    assert assignment(engine, "g", 2).outcome == "labelled"


def test_a_review_that_agrees_leaves_the_label_and_ends(engine):
    ask(engine, "a")
    answer(engine, "a", "ann", "cat")
    ask(engine, "a", reason="review", number=2)
    assert assignment(engine, "a", 2).closed_at is None
    answer(engine, "a", "ben", "cat", number=2)
    assert [label for label, _, _ in history(engine, "a")] == ["cat", "cat"]
    assert assignment(engine, "a", 2).outcome == "labelled"


def test_a_review_by_the_same_person_is_their_last_word_and_history_stays(engine):
    ask(engine, "a")
    answer(engine, "a", "ann", "cat")
    ask(engine, "a", reason="review", number=2)
    assert answer(engine, "a", "ann", "dog", number=2)["changed"] == 1
    assert [(label, now) for label, _, now in history(engine, "a")] == [
        ("cat", False), ("dog", True),
    ]  # fmt: skip


def test_a_review_that_disagrees_asks_one_more_in_the_review(engine):
    ask(engine, "a")
    answer(engine, "a", "ann", "cat")
    ask(engine, "a", reason="review", number=2)
    assert answer(engine, "a", "ben", "dog", number=2)["asked again"] == 1
    assert assignment(engine, "a", 2).required_annotators == 2
    answer(engine, "a", "cem", "dog", number=2)
    assert in_force(engine, "a") == "dog"
    assert assignment(engine, "a", 2).outcome == "labelled"


def test_a_skip_ends_what_nobody_answers_and_not_what_somebody_did(engine):
    ask(engine, "a", "b", required_annotators=2)
    answer(engine, "a", "ann", None, kind="skip")
    assert assignment(engine, "a").outcome == "skipped"
    answer(engine, "b", "ann", "cat")
    answer(engine, "b", "ben", None, kind="skip")
    assert assignment(engine, "b").closed_at is None


def test_a_final_word_taken_back_leaves_the_answers(engine):
    ask(engine, "a")
    answer(engine, "a", "ann", "cat", kind="verdict")
    assert history(engine, "a")[-1][1] == "verdict"
    answer(engine, "a", "ann", "cat")
    assert in_force(engine, "a") == "cat"
    assert history(engine, "a")[-1][1] != "verdict"


def test_what_the_model_said_before_it_was_told_is_evidence(engine):
    ask(engine, "a", "b", probs=[{"cat": 0.9, "dog": 0.1}] * 2)
    with engine.connect() as connection:
        probs = load_ledger_state(connection).probs
    assert probs.loc["a"].to_dict() == {"cat": 0.9, "dog": 0.1}


def test_one_person_alone_is_believed_whatever_the_model_said(engine):
    ask(engine, "a", "b", "c", probs=[{"cat": 0.98, "dog": 0.01, "newt": 0.01}] * 3)
    for sample in "abc":
        answer(engine, sample, "ann", "dog")
    assert [in_force(engine, sample) for sample in "abc"] == ["dog"] * 3
    with engine.connect() as connection:
        assert overview.count_open(connection) == 0, "nobody could be asked for a second opinion"


@pytest.mark.parametrize("newest", [2_000, 1])
def test_simulated_people_see_what_nobody_answered_in_its_round_and_what_is_undecided(
    engine, monkeypatch, newest
):
    """Also beside a large ledger, of which only the newest answers and the asked are read."""
    monkeypatch.setattr("labeling.consensus.settle_labels.NEWEST", newest)
    ask(engine, "a", "b", "c", required_annotators=2)
    answer(engine, "a", "ann", "cat")
    answer(engine, "a", "ben", "dog")
    answer(engine, "b", "ann", "cat")
    with engine.connect() as connection:
        waiting = rounds.open_assignments(connection)
        fresh, undecided = unanswered(connection, waiting, POLICY, CLASSES)
    assert (fresh["sample_id"].tolist(), undecided["sample_id"].tolist()) == (["c"], ["a"])


def test_settling_twice_changes_nothing(engine):
    ask(engine, "a", "b")
    answer(engine, "a", "ann", "cat")
    answer(engine, "a", "ben", "dog")
    before = history(engine, "a"), assignment(engine, "a")
    with only_writer(engine, "answers") as token:
        counts = settle_labels(engine, token, POLICY, CLASSES)
    assert set(counts.values()) == {0}
    assert (history(engine, "a"), assignment(engine, "a")) == before


def test_a_round_ends_when_the_last_of_its_tasks_is_deleted(engine: Engine) -> None:
    round_id = ask(engine, "a", "b")
    answer(engine, "a", "ann", "cat")
    with only_writer(engine, "rounds") as token:
        rounds.record_deleted(engine, token, [("b", round_id)])
    with only_writer(engine, "answers") as token:
        settle_labels(engine, token, POLICY, CLASSES)
    with engine.connect() as connection:
        assert rounds.samples_of_open_rounds(connection) == set()


def test_a_final_word_ends_an_assignment_that_waits_for_more_annotators(engine: Engine) -> None:
    ask(engine, "a", "b", required_annotators=3)
    answer(engine, "a", "ann", "cat", kind="verdict")
    answer(engine, "b", "ann", "cat")
    assert assignment(engine, "a").outcome == "labelled"
    assert assignment(engine, "b").closed_at is None


def test_a_final_word_of_another_round_does_not_end_a_review(engine: Engine) -> None:
    ask(engine, "a")
    answer(engine, "a", "ann", "cat", kind="verdict")
    ask(engine, "a", reason="review", number=2)
    answer(engine, "b", "ann", "cat")
    assert assignment(engine, "a", 2).closed_at is None


def test_a_round_that_is_not_sent_stays_open_although_its_samples_have_labels(
    engine: Engine,
) -> None:
    round_id = choose(engine, "a")
    answer(engine, "a", "ann", "cat")
    assert assignment(engine, "a").outcome == "labelled"
    assert is_open(engine)
    send(engine, round_id, "a")
    answer(engine, "b", "ann", "cat")
    assert not is_open(engine)


def test_a_prediction_made_for_a_review_is_no_evidence(engine: Engine) -> None:
    """The model of a review was trained on the label in question."""
    first, later = {"cat": 0.9, "dog": 0.1}, {"cat": 0.2, "dog": 0.8}
    ask(engine, "a", "b", probs=[first] * 2)
    for number, (sample, reason) in enumerate([("a", "review"), ("b", "margin")], start=2):
        answer(engine, sample, "ann", "cat")
        ask(engine, sample, reason=reason, number=number, probs=[later])
    ask(engine, "g", reason="gold", number=4, probs=[later])
    with engine.connect() as connection:
        probs = load_ledger_state(connection).probs
    assert probs["cat"].to_dict() == {"a": 0.9, "b": 0.2}
