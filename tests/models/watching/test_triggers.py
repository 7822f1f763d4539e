"""When to retrain: every combination rule, and what a training waits for."""

from dataclasses import replace
from itertools import product

import pytest

from models.watching.triggers import CAUSES, RetrainFacts, Retraining, retraining

READY = RetrainFacts(
    drift=True, decay=False, round_id="round-0004", asked=50, answered=50,
    untrained="snapshot-0003", snapshot_has_answers=True, age_days=3.0,
)  # fmt: skip


def decided(facts: RetrainFacts, when: str = "drift", age: float = 0.0) -> Retraining:
    return retraining(facts, retrain_when=when, max_model_age_days=age, cooldown_hours=24.0)


@pytest.mark.parametrize("when", CAUSES)
def test_each_rule_combines_its_causes(when: str) -> None:
    for drift, decay in product((False, True), (None, False, True)):
        due = decided(replace(READY, drift=drift, decay=decay), when).due
        expected = {
            "drift": drift,
            "drift and decay": drift and decay is True,
            "drift or decay": drift or decay is True,
            "never": False,
        }[when]
        assert due == expected, (when, drift, decay)


def test_without_a_cause_the_numbers_are_named() -> None:
    made = decided(replace(READY, drift=False, decay=None), age=30.0)
    assert made.sentence == (
        "no drift, decay is not known (retrain_when is 'drift'); "
        "the model is 3.0 days old, at most 30"
    )
    assert made.waits_for is None


def test_an_old_model_is_trained_anew_whatever_the_traffic() -> None:
    old = replace(READY, drift=False, age_days=30.0)
    assert decided(old, "never", age=30.0).due
    assert not decided(old, "never", age=30.1).due
    assert not decided(old, "never").due


@pytest.mark.parametrize(
    ("changes", "waits_for"),
    [
        ({"round_id": None}, "the round that asks about it"),
        ({"round_id": None, "unpaid": "the label budget has 0 left"}, "has 0 left"),
        ({"answered": 12}, "the answers of round-0004, 12 of 50 are there"),
        ({"snapshot_has_answers": False}, "a snapshot with the answers of round-0004"),
        ({"untrained": None}, "a snapshot with the answers of round-0004"),
        ({"hours_since_training": 4.0}, "20.0 h to pass"),
    ],
)
def test_a_training_on_drift_waits_for_its_answers(changes: dict, waits_for: str) -> None:
    made = decided(replace(READY, **changes))
    assert not made.due
    assert made.waits_for is not None and waits_for in made.waits_for


def test_a_training_for_age_waits_for_new_labels() -> None:
    old = RetrainFacts(age_days=40.0, changed_labels=7)
    made = decided(old, age=30.0)
    assert not made.due
    assert "a snapshot with new labels (7 labels changed since the newest)" in made.sentence
