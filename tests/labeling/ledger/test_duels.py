"""What is asked in a duel, which answers count and when, on a real ledger."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from core.database import writing
from core.journal_checks import rows_are_as_journaled
from core.locks import only_writer
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.ledger import duels, rounds
from labeling.ledger.answers import record_answers
from labeling.ledger.reasons import AnswerKind
from labeling.ledger.tables import assignments
from tests.labeling.databases import make_engine
from tests.labeling.ledger.test_answers import said

CLASSES = ["cat", "dog"]
IDS = [f"sample-{number:02d}" for number in range(20)]
POLICY = SettlePolicy(ask_again=0)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path, IDS)


def drawn_of(pool: Sequence[str], traffic: Sequence[str] = ()) -> pd.DataFrame:
    rows = [(name, "pool", place) for place, name in enumerate(pool)]
    rows += [(name, "traffic", place) for place, name in enumerate(traffic)]
    table = pd.DataFrame(rows, columns=["sample_id", "population", "position"])
    outputs = pd.Series([[0.25, 0.75]] * len(table), dtype=object)
    return table.assign(champion_output=outputs, challenger_output=outputs)


def begin(
    engine: Engine, pool: Sequence[str], traffic: Sequence[str] = (), challenger: str = "hone:b"
) -> duels.Duel:
    with only_writer(engine, "rounds") as token, writing(engine) as connection:
        return duels.begin_duel(
            connection, token, champion="hone:a", challenger=challenger, snapshot="snapshot-0001",
            plan={"any": 1}, approval="verdict", drawn=drawn_of(pool, traffic),
        )  # fmt: skip


def ask(engine: Engine, duel: duels.Duel, size: int = 4) -> str | None:
    with only_writer(engine, "rounds") as token:
        with writing(engine) as connection:
            round_id = duels.ask_next(connection, token, duel, size, ["pool", "traffic"])
            if round_id is None:
                return None
            names = rounds.load_batch(connection, round_id).sample_ids
        rounds.record_sent(engine, token, round_id, {name: f"task {name}" for name in names})
    return round_id


def answer(engine: Engine, *given: dict[str, Any], policy: SettlePolicy = POLICY) -> None:
    rows = pd.DataFrame(list(given))
    with only_writer(engine, "answers") as token:
        record_answers(
            engine, token, rows, source="here", classes=CLASSES, read=set(rows["sample_id"])
        )
        settle_labels(engine, token, policy, CLASSES)


def value(row: Any, label: str) -> int:
    """As if the challenger always answered "cat", and the champion "dog"."""
    assert row.champion_output == row.challenger_output == [0.25, 0.75]
    return 1 if label == "cat" else -1


def count(engine: Engine, duel: duels.Duel) -> int:
    with only_writer(engine, "rounds") as token, writing(engine) as connection:
        return duels.count_answers(connection, token, duel.duel_id, value)


def counted(engine: Engine, duel: duels.Duel) -> list[tuple[str, str | None, float]]:
    with engine.connect() as connection:
        table = duels.load_duel_samples(connection, duel.duel_id)
    rows = table[table["counted_at"].notna()]
    return list(zip(rows["ending"], rows["answer"], rows["value"], strict=True))


def test_answers_count_in_the_order_drawn_up_to_the_first_that_is_open(engine: Engine) -> None:
    duel = begin(engine, IDS[:6])
    assert ask(engine, duel) == "round-0001"
    answer(engine, said(IDS[1], "ann", "cat"), said(IDS[2], "ann", "dog"))
    assert count(engine, duel) == 0
    answer(engine, said(IDS[0], "ann", "dog"))
    assert count(engine, duel) == 3
    assert count(engine, duel) == 0
    answer(engine, said(IDS[3], "ann", "cat"))
    assert count(engine, duel) == 1
    assert [row[2] for row in counted(engine, duel)] == [-1, 1, -1, 1]
    with engine.connect() as connection:
        assert duels.count_waiting(connection, duel.duel_id) == 0
    assert list(rows_are_as_journaled(engine, None)) == []  # type: ignore[arg-type]


def test_each_population_counts_by_itself_and_a_round_asks_both_in_turn(engine: Engine) -> None:
    duel = begin(engine, IDS[:3], IDS[10:15])
    ask(engine, duel, size=5)
    with engine.connect() as connection:
        asked = rounds.load_batch(connection, "round-0001")
        assert duels.duel_of_round(connection, "round-0001") == 1
        assert duels.count_waiting(connection, duel.duel_id) == 5
    assert asked.sample_ids == [IDS[0], IDS[10], IDS[1], IDS[11], IDS[2]]
    assert asked.rows["blind"].all()
    assert asked.rows["pre_annotation"].isna().all()
    answer(engine, said(IDS[10], "ann", "cat"))
    assert count(engine, duel) == 1
    ask(engine, duel, size=5)  # the pool is asked wholly
    with engine.connect() as connection:
        assert rounds.load_batch(connection, "round-0002").sample_ids == IDS[12:15]
    assert ask(engine, duel) is None


def test_what_was_counted_stays_counted_whatever_becomes_of_the_label(engine: Engine) -> None:
    duel = begin(engine, IDS[:2])
    ask(engine, duel)
    answer(engine, said(IDS[0], "ann", "cat"))
    assert count(engine, duel) == 1
    answer(engine, said(IDS[0], "ann", "dog", at="2"))
    assert count(engine, duel) == 0
    assert counted(engine, duel) == [("labelled", "cat", 1.0)]


def test_an_answer_that_is_not_settled_yet_is_waited_for(engine: Engine) -> None:
    duel = begin(engine, IDS[:1])
    ask(engine, duel)
    answer(engine, said(IDS[0], "ann", "cat"))
    with only_writer(engine, "answers") as token:
        changed = pd.DataFrame([said(IDS[0], "ann", "dog", at="2")])
        record_answers(engine, token, changed, source="here", classes=CLASSES, read={IDS[0]})
    assert count(engine, duel) == 0
    answer(engine, said(IDS[0], "ann", "dog", at="2"))
    assert count(engine, duel) == 1
    assert counted(engine, duel) == [("labelled", "dog", -1.0)]


def test_annotators_who_disagree_are_no_evidence_even_after_a_final_word(engine: Engine) -> None:
    duel = begin(engine, IDS[:3])
    ask(engine, duel)
    differ = said(IDS[1], "ann", "cat"), said(IDS[1], "ben", "dog")
    answer(engine, *differ)
    answer(engine, *differ, said(IDS[1], "cyd", "cat", kind=AnswerKind.FINAL))
    answer(engine, said(IDS[0], "ann", "cat"), said(IDS[2], "ann", "cat"))
    assert count(engine, duel) == 3
    assert counted(engine, duel) == [
        ("labelled", "cat", 1.0), ("disputed", None, 0.0), ("labelled", "cat", 1.0),
    ]  # fmt: skip


def test_one_annotator_more_is_waited_for(engine: Engine) -> None:
    duel, patient = begin(engine, IDS[:1]), SettlePolicy(ask_again=1)
    ask(engine, duel)
    differ = said(IDS[0], "ann", "cat"), said(IDS[0], "ben", "dog")
    answer(engine, *differ, policy=patient)
    assert count(engine, duel) == 0
    answer(engine, *differ, said(IDS[0], "cyd", "cat"), policy=patient)
    assert count(engine, duel) == 1
    assert counted(engine, duel) == [("labelled", "cat", 1.0)]


def test_a_skip_and_a_deleted_task_are_no_evidence_and_do_not_stop_the_duel(
    engine: Engine,
) -> None:
    duel = begin(engine, IDS[:4])
    ask(engine, duel)
    answer(engine, said(IDS[0], "ann", None, kind="skip"), said(IDS[3], "ann", "dog"))
    with only_writer(engine, "answers") as token:
        gone = {(IDS[1], "round-0001"), (IDS[2], "round-0001")}
        rounds.record_deleted(engine, token, gone)
        settle_labels(engine, token, POLICY, CLASSES)
    assert count(engine, duel) == 4
    assert counted(engine, duel) == [
        ("skipped", None, 0.0), ("deleted", None, 0.0), ("deleted", None, 0.0),
        ("labelled", "dog", -1.0),
    ]  # fmt: skip


def test_what_strategies_may_choose_has_nothing_of_the_duel_under_way(engine: Engine) -> None:
    duel = begin(engine, IDS[:5])
    with engine.connect() as connection:
        assert rounds.load_pool(connection)["sample_id"].tolist() == IDS[5:]
    end(engine, duel)
    with engine.connect() as connection:
        assert rounds.load_pool(connection)["sample_id"].tolist() == IDS


def test_what_was_labelled_elsewhere_before_its_turn_is_no_evidence(engine: Engine) -> None:
    duel = begin(engine, IDS[:3])
    answer(engine, said(IDS[0], "ann", "cat"))  # as an import does
    ask(engine, duel)
    with engine.connect() as connection:
        assert rounds.load_batch(connection, "round-0001").sample_ids == IDS[1:3]
    assert count(engine, duel) == 1
    assert counted(engine, duel) == [("elsewhere", None, 0.0)]


def end(engine: Engine, duel: duels.Duel) -> None:
    with only_writer(engine, "rounds") as token, writing(engine) as connection:
        duels.end_duel(connection, token, duel, outcome="HOLD", verdict_id="verdict-1")


def test_one_duel_at_a_time_and_one_for_two_models(engine: Engine) -> None:
    with engine.connect() as connection:
        assert duels.open_duel(connection) is duels.newest_duel(connection) is None
    first = begin(engine, IDS[:2])
    with pytest.raises(ValueError, match="duel-0001 is under way"):
        begin(engine, IDS[2:4], challenger="hone:c")
    end(engine, first)
    with pytest.raises(IntegrityError):
        begin(engine, IDS[2:4])
    second = begin(engine, IDS[:4], challenger="hone:c")
    with engine.connect() as connection:
        assert duels.open_duel(connection) == second == duels.newest_duel(connection)
        ended = duels.duel_between(connection, champion="hone:a", challenger="hone:b")
        assert ended is not None
        assert (ended.outcome, ended.verdict_id) == ("HOLD", "verdict-1")
        assert duels.duel_of_verdict(connection, "verdict-1") == ended
        assert duels.all_duels(connection) == [ended, second]
        assert duels.duel_of_verdict(connection, "verdict-2") is None


def test_a_round_that_was_not_sent_is_known(engine: Engine) -> None:
    duel = begin(engine, IDS[:2])
    with engine.connect() as connection:
        assert duels.unsent_round(connection, duel.duel_id) is None
    with only_writer(engine, "rounds") as token, writing(engine) as connection:
        duels.ask_next(connection, token, duel, 2, ["pool"])
    with engine.connect() as connection:
        assert duels.unsent_round(connection, duel.duel_id) == "round-0001"
        reasons = set(connection.scalars(select(assignments.c.reason)))
    assert reasons == {"duel"}
    with only_writer(engine, "rounds") as token:
        rounds.record_sent(engine, token, "round-0001", {IDS[0]: "1", IDS[1]: "2"})
    with engine.connect() as connection:
        assert duels.unsent_round(connection, duel.duel_id) is None
        assert rounds.recent_rounds(connection) == []
