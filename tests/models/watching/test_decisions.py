from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError

from core.database import connect, upgrade, writing
from models.watching.decisions import (
    DecisionRecord,
    answer_decision,
    checked_up_to,
    decisions,
    find_decision,
    newest_decision,
    record_decision,
    signals,
    unanswered_drift,
)
from models.watching.signals import Action, Decision, Family, Shift, Signal

DRIFT = Decision(Action.LABEL_SERVED, "The traffic has drifted.")
QUIET = Decision(Action.NONE, "No drift.")
SIGNALS = [
    Signal(
        "ks-probabilities",
        Family.INPUTS,
        Shift.DRIFT,
        0.5,
        0.0005,
        0.0,
        0.0,
        1e-9,
        200,
        200,
        "moved",
    ),
    Signal(
        "ks-embeddings", Family.INPUTS, Shift.UNKNOWN, None, None, 0.0, 0.0, None, 3, 3, "3 rows"
    ),
]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    return engine


def record(
    engine: Engine, first: int, last: int, decision: Decision = QUIET, model: str = "hone:a"
) -> str:
    return record_decision(
        engine, model=model, first_seq=first, last_seq=last, decision=decision, signals=SIGNALS
    )


def counts(engine: Engine) -> tuple[int, int]:
    with engine.connect() as connection:
        found = [
            connection.scalar(select(func.count()).select_from(each))
            for each in (decisions, signals)
        ]
    return found[0] or 0, found[1] or 0


def newest(engine: Engine) -> DecisionRecord | None:
    with engine.connect() as connection:
        return newest_decision(connection)


def test_a_decision_is_kept_with_its_signals(engine: Engine) -> None:
    decision_id = record(engine, 1, 200, DRIFT)
    found = newest(engine)
    assert found is not None
    assert (found.decision_id, found.model) == (decision_id, "hone:a")
    assert (found.first_seq, found.last_seq) == (1, 200)
    assert (found.action, found.reason, found.answered_by) == (DRIFT.action, DRIFT.reason, None)
    assert found.signals == (SIGNALS[1], SIGNALS[0])
    assert find_decision(engine, decision_id) == found


def test_an_unknown_decision_is_an_error_that_names_it(engine: Engine) -> None:
    with pytest.raises(ValueError, match="no decision 'decision-x'"):
        find_decision(engine, "decision-x")


def test_a_window_is_decided_once(engine: Engine) -> None:
    first = record(engine, 1, 200, DRIFT)
    assert record(engine, 1, 200, QUIET) == first
    assert counts(engine) == (1, 2)
    found = newest(engine)
    assert found is not None
    assert found.action == "label-served"
    others = [record(engine, 201, 400), record(engine, 1, 200, model="hone:b")]
    assert len({first, *others}) == 3
    assert counts(engine) == (3, 6)


def test_two_watches_of_one_window_at_once_leave_one_decision(engine: Engine) -> None:
    together, ids = Barrier(4), []

    def watch() -> None:
        together.wait()
        ids.append(record(engine, 1, 200, DRIFT))

    threads = [Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1
    assert counts(engine) == (1, 2)


def test_before_the_first_decision_there_is_none(engine: Engine) -> None:
    assert newest(engine) is None
    assert unanswered_drift(engine) is None
    assert checked_up_to(engine, "hone:a") == 0


def test_a_model_is_checked_up_to_the_end_of_its_last_window(engine: Engine) -> None:
    for first, last in ((201, 400), (1, 200)):
        record(engine, first, last)
    record(engine, 401, 450, model="hone:b")
    assert (checked_up_to(engine, "hone:a"), checked_up_to(engine, "hone:b")) == (400, 450)


def test_drift_waits_until_a_round_answers_it(engine: Engine) -> None:
    record(engine, 1, 200, QUIET)
    assert unanswered_drift(engine) is None
    first = record(engine, 201, 400, DRIFT)
    record(engine, 401, 600, QUIET)
    found = unanswered_drift(engine)
    assert found is not None
    assert found.decision_id == first
    with writing(engine) as connection:
        answer_decision(connection, first, "round-0004")
    assert unanswered_drift(engine) is None


def test_a_round_answers_the_earlier_drift_too_but_not_the_later(engine: Engine) -> None:
    earlier, asked = record(engine, 1, 200, DRIFT), record(engine, 201, 400, DRIFT)
    later = record(engine, 401, 600, DRIFT, model="hone:b")
    with writing(engine) as connection:
        answer_decision(connection, asked, "round-0004")
        answer_decision(connection, asked, "round-0005")
    with engine.connect() as connection:
        rows = connection.execute(select(decisions.c.decision_id, decisions.c.answered_by)).tuples()
        assert dict(rows.all()) == {earlier: "round-0004", asked: "round-0004", later: None}
    found = unanswered_drift(engine)
    assert found is not None
    assert found.decision_id == later


def test_an_unknown_decision_is_not_answered(engine: Engine) -> None:
    with pytest.raises(ValueError, match="no decision 'decision-x'"), writing(engine) as connection:
        answer_decision(connection, "decision-x", "round-0001")


def test_a_window_without_predictions_is_refused(engine: Engine) -> None:
    for first, last in ((0, 10), (10, 9)):
        with pytest.raises(ValueError, match=f"the window is {first} to {last}"):
            record(engine, first, last)
    assert counts(engine) == (0, 0)


def test_a_window_of_one_prediction_can_be_decided(engine: Engine) -> None:
    record(engine, 5, 5)
    assert checked_up_to(engine, "hone:a") == 5


def test_the_last_decision_is_the_one_made_last_with_its_own_signals(engine: Engine) -> None:
    record(engine, 201, 400)
    record_decision(
        engine, model="hone:b", first_seq=1, last_seq=200, decision=DRIFT, signals=SIGNALS[:1]
    )
    last = newest(engine)
    assert last is not None
    assert (last.model, last.last_seq) == ("hone:b", 200)
    assert [signal.name for signal in last.signals] == ["ks-probabilities"]


def test_of_two_unanswered_drifts_the_later_traffic_is_answered_first(engine: Engine) -> None:
    for first, last in ((201, 400), (1, 200), (401, 600)):
        record(engine, first, last, DRIFT)
        unanswered = unanswered_drift(engine)
        assert unanswered is not None and unanswered.last_seq == max(last, 400)


def test_a_quiet_decision_is_answered_by_no_round(engine: Engine) -> None:
    quiet, drift = record(engine, 1, 200, QUIET), record(engine, 201, 400, DRIFT)
    with writing(engine) as connection:
        answer_decision(connection, drift, "round-0004")
    assert find_decision(engine, quiet).answered_by is None
    assert find_decision(engine, drift).answered_by == "round-0004"


def test_signals_that_cannot_be_recorded_are_an_error_and_leave_no_decision(
    engine: Engine,
) -> None:
    twice = SIGNALS[:1] * 2
    with pytest.raises(IntegrityError):
        record_decision(
            engine, model="hone:a", first_seq=1, last_seq=200, decision=DRIFT, signals=twice
        )
    assert counts(engine) == (0, 0)
