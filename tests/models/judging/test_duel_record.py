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
    return pd.DataFrame(rows, columns=names, dtype=object)


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
    verdict = record.verdict("duel-0001", record.state(samples(values)))
    assert verdict.outcome == outcome
    assert [one.name for one in verdict.criteria] == ["gain", "loss", "rows"]
    assert verdict.metrics["duel"]["duel_id"] == "duel-0001"
    assert verdict.metrics["number"] == record.plan.number
    assert verdict.metrics["challenger_accuracy"] == 0.9


def test_what_stopped_a_duel_holds_whatever_the_answers_were() -> None:
    record = record_of("+" * 30)
    for values in ("+" * 25, "-" * 25):
        verdict = record.verdict("duel-0001", record.state(samples(values)), stopped="it is gone")
        assert verdict.outcome == Outcome.HOLD
        assert verdict.reasons[0] == "it is gone"


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
