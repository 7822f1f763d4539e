from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.exc import IntegrityError

from core.database import connect, now, upgrade, writing
from models.watching.decisions import (
    DecisionRecord,
    Evaluation,
    Overtaken,
    WatchState,
    accept_decision,
    answer_decision,
    checked_up_to,
    count_checks,
    decisions,
    decisions_of,
    find_decision,
    known_windows,
    last_asking,
    load_state,
    newest_decision,
    newest_decisions,
    record_evaluation,
    save_state,
    signals,
    skip_truths,
    unanswered_drift,
)
from models.watching.incidents import close_incident, open_incident
from models.watching.signals import Action, Family, Shift, Signal

ASKS, NOTHING = Action.LABEL_SERVED, Action.NONE
MOVED = Signal(
    name="ks-probabilities", family=Family.OUTPUTS, outcome=Shift.DRIFT, value=0.5,
    threshold=0.0005, evidence=3.5, accumulated=4.5, p_value=1e-9, rows=200, groups=150,
    meaning="column 1 moved", detail={"low": 0.1},
)  # fmt: skip
FEW = Signal(
    name="ks-embeddings", family=Family.INPUTS, outcome=Shift.UNKNOWN, value=None, threshold=None,
    evidence=0.0, accumulated=0.0, p_value=None, rows=3, groups=3, meaning="3 rows",
)  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    return engine


def record(
    engine: Engine, first: int, last: int, action: Action = NOTHING, model: str = "hone:a",
    **more: Any,
) -> str:  # fmt: skip
    step = "label" if action == ASKS else "none"
    about = {"reason": "because", "signals": [MOVED, FEW]} | more
    with writing(engine) as connection:
        return record_evaluation(connection, Evaluation(model, first, last, action, step, **about))


def counts(engine: Engine) -> tuple[int, int]:
    with engine.connect() as connection:
        numbers = [
            connection.scalar(select(func.count()).select_from(each))
            for each in (decisions, signals)
        ]
    return numbers[0] or 0, numbers[1] or 0


def newest(engine: Engine) -> DecisionRecord | None:
    with engine.connect() as connection:
        return newest_decision(connection)


def test_a_decision_is_recorded_with_its_signals_and_all_that_it_rests_on(engine: Engine) -> None:
    decision_id = record(
        engine, 1, 200, ASKS, why=["alarm"], why_not=["halt: never"], kind="covariate",
        cost={"labels": 50}, estimate={"accuracy": 0.8}, exemplars=["p1", "p2"], evidence=9.0,
        threshold=8.0, spent=0.5, incident_id="incident-0001",
    )  # fmt: skip
    made = newest(engine)
    assert made == find_decision(engine, decision_id)
    assert made is not None
    assert (made.model, made.first_seq, made.last_seq, made.action) == ("hone:a", 1, 200, ASKS)
    assert (made.step, made.kind, made.why, made.why_not) == (
        "label", "covariate", ["alarm"], ["halt: never"],
    )  # fmt: skip
    assert (made.cost, made.exemplars, made.spent) == ({"labels": 50}, ["p1", "p2"], 0.5)
    assert made.signals == (FEW, MOVED)


def test_a_signal_of_an_earlier_version_is_read_with_its_sentence(engine: Engine) -> None:
    old = {"decision_id": "d", "model": "hone:a", "first_seq": 1, "last_seq": 9, "action": "none"}
    row = {"decision_id": "d", "name": "ks-embeddings", "outcome": "no drift", "statistic": 0.2}
    row |= {"p_value": 0.3, "threshold": 0.001, "rows": 9, "detail": "column 3 moved most"}
    with writing(engine) as connection:
        connection.execute(insert(decisions).values(**old, reason="quiet", decided_at=now()))
        connection.execute(insert(signals).values(**row))
    [signal] = find_decision(engine, "d").signals
    assert (signal.meaning, signal.value, signal.evidence) == ("column 3 moved most", 0.2, 0.0)


def test_an_unknown_decision_is_an_error_that_names_it(engine: Engine) -> None:
    with pytest.raises(ValueError, match="no decision 'decision-x'"):
        find_decision(engine, "decision-x")


def test_traffic_is_decided_on_once(engine: Engine) -> None:
    first = record(engine, 1, 200, ASKS)
    for window in ((1, 200), (150, 300), (200, 200)):
        with pytest.raises(Overtaken, match="checked up to 200"):
            record(engine, *window)
    assert counts(engine) == (1, 2)
    others = [record(engine, 201, 400), record(engine, 1, 200, model="hone:b")]
    assert len({first, *others}) == 3


def test_two_watches_of_one_window_at_once_leave_one_decision(engine: Engine) -> None:
    together, made = Barrier(4), list[str]()

    def watch() -> None:
        together.wait()
        try:
            made.append(record(engine, 1, 200, ASKS))
        except Overtaken:
            made.append("overtaken")

    threads = [Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.count("overtaken") == 3
    assert counts(engine) == (1, 2)


def test_checks_without_traffic_are_rows_of_their_own(engine: Engine) -> None:
    record(engine, 1, 200)
    made = {record(engine, 201, 200, signals=[]) for _ in range(3)}
    assert len(made) == 3
    assert checked_up_to(engine, "hone:a") == 200
    record(engine, 201, 260)
    assert checked_up_to(engine, "hone:a") == 260
    with engine.connect() as connection:
        assert count_checks(connection, "2000") == 2
        assert count_checks(connection, "9999") == 0
        assert [one.last_seq for one in newest_decisions(connection, 2)] == [260, 200]


def test_before_the_first_decision_there_is_none(engine: Engine) -> None:
    assert newest(engine) is None
    assert unanswered_drift(engine) is None
    assert checked_up_to(engine, "hone:a") == 0
    with engine.connect() as connection:
        assert last_asking(connection) is None


def test_a_model_is_checked_up_to_the_end_of_its_last_window(engine: Engine) -> None:
    record(engine, 1, 400)
    record(engine, 401, 450, model="hone:b")
    assert (checked_up_to(engine, "hone:a"), checked_up_to(engine, "hone:b")) == (400, 450)


def test_drift_waits_until_a_round_answers_it(engine: Engine) -> None:
    record(engine, 1, 200)
    assert unanswered_drift(engine) is None
    first = record(engine, 201, 400, ASKS)
    record(engine, 401, 600)
    waiting = unanswered_drift(engine)
    assert waiting is not None and waiting.decision_id == first
    with writing(engine) as connection:
        answer_decision(connection, first, "round-0004")
    assert unanswered_drift(engine) is None
    with engine.connect() as connection:
        asking = last_asking(connection)
    assert asking is not None and asking.answered_by == "round-0004"


def test_a_round_answers_the_earlier_drift_too_but_not_the_later(engine: Engine) -> None:
    earlier, asked = record(engine, 1, 200, ASKS), record(engine, 201, 400, ASKS)
    later = record(engine, 401, 600, ASKS, model="hone:b")
    with writing(engine) as connection:
        answer_decision(connection, asked, "round-0004")
        answer_decision(connection, asked, "round-0005")
    with engine.connect() as connection:
        rows = connection.execute(select(decisions.c.decision_id, decisions.c.answered_by)).tuples()
        assert dict(rows.all()) == {earlier: "round-0004", asked: "round-0004", later: None}
    waiting = unanswered_drift(engine)
    assert waiting is not None and waiting.decision_id == later


def test_a_quiet_decision_is_answered_by_no_round(engine: Engine) -> None:
    quiet, drift = record(engine, 1, 200), record(engine, 201, 400, ASKS)
    with writing(engine) as connection:
        answer_decision(connection, drift, "round-0004")
    assert find_decision(engine, quiet).answered_by is None


def test_an_unknown_decision_is_not_answered(engine: Engine) -> None:
    with pytest.raises(ValueError, match="no decision 'decision-x'"), writing(engine) as connection:
        answer_decision(connection, "decision-x", "round-0001")


def test_accepted_traffic_is_known_and_asks_for_nothing(engine: Engine) -> None:
    decision_id = record(engine, 1, 200, ASKS)
    with writing(engine) as connection:
        accept_decision(connection, decision_id, who="ann", why="a new camera")
        accept_decision(connection, decision_id, who="bob", why="later")
        assert [one.decision_id for one in known_windows(connection, [])] == [decision_id]
    made = find_decision(engine, decision_id)
    assert (made.accepted_by, made.accepted_why) == ("ann", "a new camera")
    assert unanswered_drift(engine) is None


def test_windows_that_rounds_answered_are_known_and_empty_ones_are_not(engine: Engine) -> None:
    answered = record(engine, 1, 200, ASKS)
    record(engine, 201, 400)
    with writing(engine) as connection:
        answer_decision(connection, answered, "round-0004")
        empty = record_evaluation(connection, Evaluation("hone:a", 401, 400, NOTHING, "none", "-"))
        with pytest.raises(ValueError, match="without traffic"):
            accept_decision(connection, empty, who="ann", why="x")
        assert [one.decision_id for one in known_windows(connection, ["round-0004"])] == [answered]
        assert known_windows(connection, ["round-0003"]) == []


@pytest.mark.parametrize(("who", "why"), [("", "x"), ("ann", " ")])
def test_accepting_needs_who_and_why(engine: Engine, who: str, why: str) -> None:
    decision_id = record(engine, 1, 200, ASKS)
    with pytest.raises(ValueError, match="needs who"), writing(engine) as connection:
        accept_decision(connection, decision_id, who=who, why=why)


def test_the_state_of_the_detectors_goes_with_the_decision(engine: Engine) -> None:
    with writing(engine) as connection:
        assert load_state(connection, "hone:a") == WatchState(0)
        record_evaluation(
            connection, Evaluation("hone:a", 1, 200, NOTHING, "none", "-", signals=[MOVED])
        )
        save_state(connection, "hone:a", WatchState(200, {"detectors": {"ks": {}}}))
        save_state(connection, "hone:a", WatchState(200, {"detectors": {"ks": {"n": 1}}}))
        state = load_state(connection, "hone:a")
    assert state == WatchState(200, {"detectors": {"ks": {"n": 1}}})


def test_a_state_that_does_not_end_where_the_decisions_do_is_not_used(engine: Engine) -> None:
    record(engine, 1, 200)
    with writing(engine) as connection:
        save_state(connection, "hone:a", WatchState(100, {"detectors": {}}))
        assert load_state(connection, "hone:a") == WatchState(200)


def test_the_decisions_of_an_incident_are_in_order(engine: Engine) -> None:
    record(engine, 1, 200)
    mine = [record(engine, first, first + 9, incident_id="incident-0001") for first in (201, 211)]
    with engine.connect() as connection:
        assert [one.decision_id for one in decisions_of(connection, "incident-0001")] == mine


def test_a_window_that_is_none_is_refused(engine: Engine) -> None:
    for first, last in ((0, 10), (10, 8)):
        with pytest.raises(ValueError, match=f"the window is {first} to {last}"):
            record(engine, first, last)
    assert counts(engine) == (0, 0)


def test_signals_that_cannot_be_recorded_are_an_error_and_leave_no_decision(
    engine: Engine,
) -> None:
    with pytest.raises(IntegrityError):
        record(engine, 1, 200, ASKS, signals=[MOVED, MOVED])
    assert counts(engine) == (0, 0)


def test_renumbered_truths_are_not_judged_again(engine: Engine) -> None:
    for model in ("hone:a", "hone:b"):
        record(engine, 1, 200, model=model)
    with writing(engine) as connection:
        for model, state in (("hone:a", {"truths": 5, "detectors": {}}), ("hone:b", {})):
            save_state(connection, model, WatchState(200, state))
        skip_truths(connection, 40)
        states = [load_state(connection, model).state for model in ("hone:a", "hone:b")]
    assert states == [{"truths": 40, "detectors": {}}, {"truths": 40}]


def test_a_drift_whose_incident_has_ended_needs_no_answer(engine: Engine) -> None:
    decision_id = record(engine, 1, 200, ASKS, incident_id="incident-0001")
    with writing(engine) as connection:
        open_incident(connection, decision_id, model="hone:a", kind=None, step="label")
    waiting = unanswered_drift(engine)
    assert waiting is not None and waiting.decision_id == decision_id
    with writing(engine) as connection:
        close_incident(connection, "incident-0001", decision_id, "3 calm checks in a row")
    assert unanswered_drift(engine) is None
