"""What a duel's verdict follows from, and that it always follows from that alone."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from models.judging.criterion import Criterion, Status
from models.judging.duel import Counts
from models.judging.duel_record import DuelRecord, may_be_decided_by_answers
from models.judging.verdict import GatePolicy, Outcome, Verdict
from tests.tasks.duels import record_of

MET = Criterion("rows", Status.PASS, "40 rows")


def samples(values: str, population: str = "pool") -> pd.DataFrame:
    """Counted samples: + won, - lost, 0 neither right, ? doubtful, and . not counted yet."""
    outputs = {"+": ([0.1, 0.9], [0.9, 0.1]), "-": ([0.9, 0.1], [0.1, 0.9])}
    answers = {"+": "cat", "-": "cat", "0": "eel", "?": None, ".": None}
    rows = [
        (population, *outputs.get(one, outputs["+"]), answers[one], None if one == "." else "now")
        for one in values
    ]
    names = ["population", "champion_output", "challenger_output", "answer", "counted_at"]
    return pd.DataFrame(rows, columns=names, dtype=object).assign(round_id="round-0001")


def test_a_record_comes_back_from_json_the_same() -> None:
    record = record_of("+" * 30, "+" * 9, policy=GatePolicy(margin=0.03))
    stored = json.loads(json.dumps(record.as_json()))
    assert DuelRecord.from_json(stored) == record


def test_answers_are_counted_by_what_each_model_said() -> None:
    record = record_of("+" * 30, "+" * 30)
    rows = pd.concat([samples("++-0?."), samples("-", "traffic")])
    assert record.counts(rows) == {
        "pool": Counts(wins=2, ties=1, losses=1, doubtful=1), "traffic": Counts(losses=1),
    }  # fmt: skip


def test_a_model_that_does_not_know_a_class_misses_its_samples() -> None:
    """A class that was added after the champion was trained: answers are compared by name."""
    record = record_of("+", challenger_classes=("eel", "cat", "dog"))
    assert record.value([1.0, 0.0], [1.0, 0.0, 0.0], "eel") == 1
    assert record.value([1.0, 0.0], [1.0, 0.0, 0.0], "cat") == -1
    assert record.value([1.0, 0.0], [0.0, 1.0, 0.0], "cat") == 0
    assert record.value([1.0, 0.0], [0.0, 1.0, 0.0], "dog") == 0
    others = replace(record, champion_classes=("fox", "owl"))
    assert others.value([1.0, 0.0], [0.0, 0.0, 1.0], "dog") == 1


@pytest.mark.parametrize(
    ("values", "outcome"),
    [("+" * 25, Outcome.PROMOTE), ("-" * 25, Outcome.REJECT), ("+-" * 15, Outcome.HOLD)],
)
def test_the_verdict_is_that_of_the_answers(values: str, outcome: Outcome) -> None:
    record = record_of("+" * 30)
    verdict = record.verdict("duel-0001", samples(values))
    assert verdict.outcome == outcome
    assert [one.name for one in verdict.criteria] == ["gain", "loss", "rows"]
    assert verdict.metrics["duel"]["duel_id"] == "duel-0001"
    assert verdict.metrics["number"] == record.plan.number
    assert verdict.metrics["challenger_accuracy"] == 0.9


def test_what_stopped_a_duel_holds_whatever_the_answers_were() -> None:
    record = record_of("+" * 30)
    for values in ("+" * 25, "-" * 25):
        verdict = record.verdict("duel-0001", samples(values), stopped="it is gone")
        assert verdict.outcome == Outcome.HOLD
        assert verdict.reasons[0] == "it is gone"


def fallen(values: str, label: str) -> pd.DataFrame:
    """Counted samples of another class: + where only the challenger is right, - the champion."""
    names = {"cat": [0.9, 0.1], "dog": [0.1, 0.9]}
    right, wrong = names[label], names["dog" if label == "cat" else "cat"]
    outputs = {"champion_output": [wrong if one == "+" else right for one in values],
               "challenger_output": [right if one == "+" else wrong for one in values]}  # fmt: skip
    return samples(values).assign(answer=label, **{
        name: pd.Series(column, dtype=object) for name, column in outputs.items()
    })  # fmt: skip


@pytest.mark.parametrize(("lost", "outcome"), [(9, Outcome.HOLD), (0, Outcome.PROMOTE)])
def test_a_class_that_the_answers_show_to_have_fallen_holds(lost: int, outcome: Outcome) -> None:
    groups = {"class cat": [30, 2, 0, 3], "class dog": [9, 0, 1, 0]}  # one dog of ten is lost
    metrics = {"rows": 45, "groups": groups}
    record = record_of("+" * 90, scored=900, metrics=metrics)
    record = DuelRecord.from_json(json.loads(json.dumps(record.as_json())))
    rows = pd.concat([fallen("+" * 60, "cat"), fallen("-" * lost, "dog")], ignore_index=True)
    verdict = record.verdict("duel-0001", rows)
    assert verdict.outcome == outcome
    [dog] = [one for one in verdict.criteria if one.population == "class dog"]
    assert dog.status == (Status.FAIL if lost else Status.PASS)
    assert f"10 rows{' and 9 answers' if lost else ''}" in dog.evidence


@pytest.mark.parametrize(("won", "status"), [(30, Status.PASS), (0, Status.UNKNOWN)])
def test_a_class_that_the_champion_saw_everywhere_is_not_suspected(
    won: int, status: Status
) -> None:
    """Four dogs are lost by a challenger that no longer takes cats for dogs, or loses nothing."""
    metrics = {"rows": 45, "groups": {"class cat": [30, 2, 0, 3], "class dog": [10, 0, 0, 0]}}
    record = record_of("+" * 90, scored=100, metrics=metrics)
    rows = pd.concat([fallen("+" * won, "cat"), fallen("-" * 4, "dog")], ignore_index=True)
    [dog] = [one for one in record.verdict("duel-0001", rows).criteria
             if one.population == "class dog"]  # fmt: skip
    assert dog.status == status


THREE = ("cat", "dog", "eel")


def said(*rows: tuple[str, str, str], round_id: str) -> pd.DataFrame:
    """Counted samples of a round: the label, what the champion said, what the challenger said."""
    outputs = {name: [float(one == name) for one in THREE] for name in THREE}
    columns = {
        "population": ["pool"] * len(rows),
        "champion_output": [outputs[champion] for _, champion, _ in rows],
        "challenger_output": [outputs[challenger] for _, _, challenger in rows],
        "answer": [label for label, _, _ in rows],
        "counted_at": ["now"] * len(rows),
    }
    return pd.DataFrame(columns).astype(object).assign(round_id=round_id)


def test_a_promotion_stays_while_more_answers_tell_whether_a_class_fell() -> None:
    groups = {f"class {name}": [15, 0, 0, 0] for name in THREE}
    record = record_of("+" * 90, scored=300, champion_classes=THREE, challenger_classes=THREE,
                       metrics={"rows": 45, "groups": groups})  # fmt: skip
    first = said(*[("cat", "dog", "cat")] * 21, *[("eel", "eel", "cat")] * 4, round_id="round-0002")
    assert record.state(first).outcome == Outcome.PROMOTE
    assert record.suspected(first) == ["class eel"]
    assert record.verdict("duel-0001", first).outcome == Outcome.HOLD
    waiting = said(("eel", "cat", "eel"), round_id="round-0003").assign(
        counted_at=None, answer=None
    )
    assert record.suspected(pd.concat([first, waiting])) == ["class eel"]
    more = said(*[("eel", "cat", "eel")] * 6, *[("dog", "dog", "cat")] * 3, round_id="round-0003")
    both = pd.concat([first, more], ignore_index=True)
    assert record.suspected(both) == []
    assert record.verdict("duel-0001", both).outcome == Outcome.PROMOTE
    lost = said(*[("cat", "cat", "dog")] * 25, round_id="round-0003")
    assert record.state(pd.concat([first, lost], ignore_index=True)).outcome == Outcome.PROMOTE
    lost = lost.assign(round_id="round-0002")  # the same answers before the first look: no gain
    assert record.state(pd.concat([first, lost], ignore_index=True)).outcome != Outcome.PROMOTE


def test_a_class_that_may_have_fallen_is_asked_about_in_a_duel() -> None:
    gain = Criterion("gain", Status.UNKNOWN, "")
    may, fell = (Criterion("classes", one, "") for one in (Status.UNKNOWN, Status.FAIL))
    slices = replace(may, name="slices")
    for criteria, is_open in (((gain, may), True), ((gain, fell), False), ((gain, slices), False)):
        verdict = Verdict(Outcome.HOLD, [], {}, (MET, *criteria))
        assert may_be_decided_by_answers(verdict) == is_open


def test_answers_decide_where_nothing_else_stands_against_the_challenger() -> None:
    gain, loss = (Criterion(name, Status.UNKNOWN, "") for name in ("gain", "loss"))

    def is_open(*criteria: Criterion) -> bool:
        return may_be_decided_by_answers(Verdict(Outcome.HOLD, [], {}, criteria))

    assert is_open(MET, gain, loss)
    assert is_open(MET, replace(gain, status=Status.PASS), loss)
    assert not is_open(MET)  # a first model has nobody to duel with
    assert not is_open(replace(MET, status=Status.UNKNOWN), gain, loss)
    assert not is_open(replace(MET, status=Status.FAIL), gain, loss)
    assert not is_open(MET, replace(gain, status=Status.FAIL), loss)
    assert not is_open(MET, gain, replace(loss, status=Status.FAIL))
