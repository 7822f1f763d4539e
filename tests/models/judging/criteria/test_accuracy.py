"""Absolute bars: a first model of ten classes that is right on 30 % is not promoted."""

import pytest

from core.intervals import share_bounds
from models.judging.criteria.accuracy import first_accuracy
from models.judging.criterion import Status
from models.judging.gate import decide
from models.judging.verdict import GatePolicy
from tests.models.judging.cases import case, rows

POLICY = GatePolicy()


@pytest.mark.parametrize(
    ("count", "wrong", "outcome"), [(90, 27, "PROMOTE"), (90, 42, "HOLD"), (300, 210, "HOLD")]
)
def test_a_first_model_is_surely_above_the_bar(count: int, wrong: int, outcome: str) -> None:
    verdict = decide(case(rows(count, range(wrong), None)), POLICY)
    assert verdict.outcome == outcome
    assert verdict.metrics["most_frequent_class"] == pytest.approx(1 / 3)


def test_a_first_model_is_measured_on_the_pool_where_the_traffic_decides() -> None:
    policy = GatePolicy(population="traffic")
    assert decide(case(rows(90, range(9), None)), policy).outcome == "PROMOTE"
    assert decide(case(rows(90, range(60), None)), policy).outcome == "HOLD"
    assert decide(case(rows(90, (), range(60))), policy).outcome == "HOLD"  # no traffic is labelled


def test_a_first_model_must_beat_always_the_same_answer() -> None:
    truths = ["cat"] * 85 + ["dog"] * 5
    lazy = decide(case(rows(90, range(85, 90), None, truths=truths)), POLICY)
    assert lazy.outcome == "HOLD" and "the most frequent class" in lazy.reasons[0]
    good = decide(case(rows(90, (), None, truths=truths)), POLICY)
    assert good.outcome == "PROMOTE"


def test_how_many_more_labels_would_show_it() -> None:
    [bar] = first_accuracy(case(rows(60, range(24), None)), POLICY)
    assert bar.status == Status.UNKNOWN
    assert bar.remedy.startswith("about ") and "more audit labels" in bar.remedy
    more = int(bar.remedy.split()[1])
    assert share_bounds(36 / 60, 60 + more)[0] > 0.5


@pytest.mark.parametrize(
    ("least", "status"), [(0.5, Status.PASS), (0.66, Status.UNKNOWN), (0.9, Status.FAIL)]
)
def test_every_model_has_a_bar(least: float, status: Status) -> None:
    verdict = decide(case(rows(90, range(27), range(60))), GatePolicy(least_accuracy=least))
    [bar] = [one for one in verdict.criteria if one.name == "least_accuracy"]
    assert bar.status == status


def test_a_class_below_its_bar_or_without_a_row_is_not_met() -> None:
    policy = GatePolicy(class_accuracy=0.5)
    truths = ["cat"] * 60 + ["dog"] * 30
    verdict = decide(case(rows(90, range(60, 78), None, truths=truths)), policy)
    bars = {one.population: one.status for one in verdict.criteria if one.name == "class_accuracy"}
    assert bars == {"class cat": Status.PASS, "class dog": Status.UNKNOWN,
                    "class eel": Status.UNKNOWN}  # fmt: skip
    verdict = decide(case(rows(90, range(62, 90), None, truths=truths)), policy)
    [dog] = [one for one in verdict.criteria if one.population == "class dog"]
    assert dog.status == Status.FAIL
