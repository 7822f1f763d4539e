"""Intervals that cover, a comparison that is fair, and a gate that missing evidence cannot pass."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.judging.compare import compare, sign_test, worst_mistakes
from models.judging.verdict import GatePolicy, Verdict
from models.kinds import KINDS

CLASSES = ["cat", "dog", "eel"]
POLICY = GatePolicy()
KIND = KINDS["classification"]


def answers(truths: list[str], right: np.ndarray, sure: float = 0.8) -> np.ndarray:
    """Probabilities that are right on the rows told, and else on the next class."""
    numbers = np.array([CLASSES.index(truth) for truth in truths]) + ~right
    probs = np.full((len(truths), 3), (1 - sure) / 2)
    probs[np.arange(len(truths)), numbers % 3] = sure
    return probs


def rows(count: int, *wrong: int) -> tuple[list[str], np.ndarray]:
    """Truths in turn, and all right but the rows given."""
    right = np.ones(count, dtype=bool)
    right[list(wrong)] = False
    return [CLASSES[number % 3] for number in range(count)], right


def judged(
    count: int,
    challenger: Sequence[int],
    champion: Sequence[int],
    policy: GatePolicy = POLICY,
    **given: Any,
) -> Verdict:
    """The verdict when each is wrong on the rows named."""
    truths, own = rows(count, *challenger)
    _, theirs = rows(count, *champion)
    return compare(truths, answers(truths, own), answers(truths, theirs), CLASSES, policy, **given)


@given(st.integers(0, 12), st.integers(0, 12))
def test_the_sign_test_is_mcnemars_and_the_exact_binomial_test(only_one, only_other):
    from scipy.stats import binomtest

    one = np.repeat([True, False, True], [only_one, only_other, 3])
    other = np.repeat([False, True, True], [only_one, only_other, 3])
    split = only_one + only_other
    expected = binomtest(only_one, split).pvalue if split else 1.0
    assert sign_test(one, other) == pytest.approx(expected)
    assert sign_test(one, other) == sign_test(other, one)


# Tables


def test_tables_count_what_happened():
    truths, right = rows(9, 1, 3)
    probs = answers(truths, right)
    assert (KIND.credit(probs, truths, CLASSES) == right).all()
    assert KIND.confusion(probs, truths, CLASSES).tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 3]]


def test_the_worst_mistakes_are_the_wrong_answers_it_was_surest_of():
    truths, right = rows(6, 1, 3, 4)
    probs = answers(truths, right)
    probs[3] = [0.02, 0.97, 0.01]
    found = worst_mistakes(probs, truths, CLASSES, most=2)
    assert found["row"].tolist() == [3, 1]
    assert found["truth"].tolist() == ["cat", "dog"]
    assert found["predicted"].tolist() == ["dog", "eel"]
    assert worst_mistakes(probs[:1], truths[:1], CLASSES).empty


# The gate


def test_clearly_better_is_promoted_and_clearly_worse_rejected():
    better = judged(300, range(10), range(60))
    assert better.outcome == "PROMOTE"
    assert better.metrics["difference"] == pytest.approx(50 / 300)
    worse = judged(300, range(60), range(10))
    assert worse.outcome == "REJECT" and "significantly worse" in worse.reasons[0]


def test_a_little_better_is_promoted_only_when_a_loss_is_excluded():
    assert judged(600, range(12), range(20)).outcome == "PROMOTE"
    unsure = judged(60, range(3), range(3, 8))
    assert unsure.outcome == "HOLD" and "cannot be excluded" in unsure.reasons[0]


def test_equal_and_a_little_worse_are_held():
    for challenger in (range(10), range(11)):
        verdict = judged(400, challenger, range(10))
        assert verdict.outcome == "HOLD" and "gain" in verdict.reasons[0]


def test_a_required_gain_is_required():
    truths, own = rows(600, *range(12))
    _, theirs = rows(600, *range(20))
    policy = replace(POLICY, min_gain=0.02)
    verdict = compare(truths, answers(truths, own), answers(truths, theirs), CLASSES, policy)
    assert verdict.outcome == "HOLD" and "not above 0.02" in verdict.reasons[0]


def test_better_on_the_whole_but_worse_on_a_slice_or_class_is_held():
    slices = ["served" if number >= 240 else "ingested" for number in range(300)]
    verdict = judged(300, range(240, 270), range(100), slices=slices)
    assert verdict.outcome == "HOLD"
    assert "slice served (1.000 -> 0.500, 60 rows)" in verdict.reasons[0]
    verdict = judged(300, range(0, 120, 3), range(1, 300, 3))
    assert verdict.outcome == "HOLD" and "class cat" in verdict.reasons[0]


@pytest.mark.parametrize(("wrong", "worse"), [(6, False), (8, True)])  # p = 0.031, 0.008
def test_the_level_of_a_class_is_divided_by_the_number_of_classes(wrong, worse):
    cats, dogs = range(0, 3 * wrong, 3), range(1, 120, 3)
    verdict = judged(300, cats, dogs)  # three classes: each is judged at 0.05 / 3
    assert (verdict.outcome == "HOLD") == worse
    assert ("class cat" in verdict.reasons[0]) == worse


def test_the_level_of_a_class_is_divided_by_the_number_of_slices_too():
    cats, dogs = range(0, 21, 3), range(1, 120, 3)  # p = 0.016
    assert "class cat" in judged(300, cats, dogs).reasons[0]
    slices = ["served" if number >= 150 else "ingested" for number in range(300)]
    assert judged(300, cats, dogs, slices=slices).outcome == "PROMOTE"


def test_worse_by_the_interval_alone_is_not_rejected() -> None:
    five = judged(300, range(5), ())  # p = 0.0625, although the interval excludes zero
    assert five.metrics["difference_high"] < 0
    assert five.outcome == "HOLD"
    assert judged(300, range(6), ()).outcome == "REJECT"  # p = 0.031


def test_the_level_of_the_policy_is_that_of_the_interval_and_of_the_test() -> None:
    at_one = replace(POLICY, alpha=0.01)
    assert judged(300, range(6), (), at_one).outcome == "HOLD"  # p = 0.031
    assert judged(300, range(9), (), at_one).outcome == "REJECT"  # p = 0.004
    by_interval = judged(600, range(8), (), at_one)  # p = 0.008
    assert by_interval.metrics["difference_high"] > 0
    assert by_interval.outcome == "HOLD"


def test_intervals_are_wider_at_a_stricter_level() -> None:
    usual, strict = (
        judged(300, range(30), range(60), replace(POLICY, alpha=alpha)).metrics
        for alpha in (0.05, 0.01)
    )
    for name in ("difference", "challenger_accuracy", "champion_accuracy"):
        assert strict[name] == usual[name]
        assert strict[f"{name}_low"] < usual[f"{name}_low"]
        assert strict[f"{name}_high"] > usual[f"{name}_high"]


def test_where_weights_turn_the_counts_around_the_interval_alone_decides() -> None:
    drawn = np.where(np.arange(400) < 200, 1.0, 0.05)
    light, heavy = range(45), range(200, 240)  # more rows, and rows that stand for more images
    verdict = judged(400, heavy, light, inclusion_probability=drawn)
    assert verdict.metrics["p_value"] > 0.5
    assert verdict.outcome == "REJECT"


def test_a_slice_is_judged_by_what_its_rows_stand_for() -> None:
    slices = ["served" if number >= 300 else "ingested" for number in range(400)]
    heavy = {*range(100), *range(350, 400)}
    drawn = np.array([0.05 if number in heavy else 1.0 for number in range(400)])
    worse_when_served, worse_elsewhere = range(350, 370), [*range(60), *range(300, 325)]
    given: dict[str, Any] = {"slices": slices, "inclusion_probability": drawn}
    verdict = judged(400, worse_when_served, worse_elsewhere, **given)
    assert verdict.metrics["difference"] > 0
    assert verdict.outcome == "HOLD" and "slice served" in verdict.reasons[0]


@pytest.mark.parametrize(("size", "outcome"), [(30, "HOLD"), (29, "PROMOTE")])
def test_a_slice_has_a_say_from_30_rows_on(size: int, outcome: str) -> None:
    last = range(300 - size, 300)
    slices = ["served" if number in last else "ingested" for number in range(300)]
    assert judged(300, last, range(100), slices=slices).outcome == outcome


def test_slices_without_a_say_do_not_lower_the_level_of_the_others() -> None:
    cats, dogs = range(0, 21, 3), range(1, 120, 3)  # p = 0.016, for three classes 0.05 / 3
    slices = [f"folder {number // 20}" for number in range(300)]
    assert "class cat" in judged(300, cats, dogs, slices=slices).reasons[0]


def test_a_first_model_is_judged_by_what_its_rows_stand_for() -> None:
    truths, right = rows(90, *range(0, 30, 3))  # ten cats are wrong
    drawn = np.where(np.arange(90) % 3 == 0, 0.5, 1.0)
    given: dict[str, Any] = {"inclusion_probability": drawn}
    first = compare(truths, answers(truths, right), None, CLASSES, POLICY, **given)
    assert first.metrics["challenger_accuracy"] == pytest.approx(100 / 120)
    assert first.metrics["most_frequent_class"] == pytest.approx(60 / 120)


def test_a_slice_with_few_rows_has_no_say():
    slices = ["served" if number >= 280 else "ingested" for number in range(300)]
    assert judged(300, range(280, 300), range(100), slices=slices).outcome == "PROMOTE"


def test_inclusion_probabilities_decide_what_a_row_is_worth():
    drawn = np.where(np.arange(400) < 200, 1.0, 0.05)  # the second half stands for most images
    few, many = range(200, 240), range(90)  # wrong rows; the few are worth more
    assert judged(400, few, many).outcome == "PROMOTE"
    assert judged(400, few, many, inclusion_probability=drawn).outcome == "REJECT"
    assert judged(400, many, few, inclusion_probability=drawn).outcome == "PROMOTE"


def test_without_a_champion_it_must_beat_the_most_frequent_class():
    truths, right = rows(90, *range(30))
    first = compare(truths, answers(truths, right), None, CLASSES, POLICY)
    assert first.outcome == "PROMOTE"
    assert first.metrics["most_frequent_class"] == pytest.approx(1 / 3)
    truths, right = rows(90, *range(58))
    poor = compare(truths, answers(truths, right), None, CLASSES, POLICY)
    assert poor.outcome == "HOLD" and "always the same answer" in poor.reasons[0]
    truths = ["cat"] * 85 + ["dog"] * 5
    lazy = compare(truths, answers(truths, np.arange(90) < 85), None, CLASSES, POLICY)
    assert lazy.outcome == "HOLD"


def spoilt(probs: np.ndarray, value: float) -> np.ndarray:
    return np.where(np.arange(len(probs))[:, None] == 7, value, probs)


@pytest.mark.parametrize("who", ["challenger", "champion"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda probs: spoilt(probs, np.nan), "no finite answer for 1 of 300"),
        (lambda probs: spoilt(probs, np.inf), "no finite answer for 1 of 300"),
        (lambda probs: spoilt(probs, 0.9), "no probabilities"),
        (lambda probs: probs[:-1], r"\(299, 3\); \(300, 3\) is needed"),
        (lambda probs: probs[:, :2], r"\(300, 2\)"),
        (lambda probs: probs[:0], r"\(0, 3\)"),
    ],
)
def test_broken_evidence_of_either_model_is_held(who, spoil, said):
    truths, own = rows(300)
    _, theirs = rows(300, *range(100))
    probs = {"challenger": answers(truths, own), "champion": answers(truths, theirs)}
    probs[who] = spoil(probs[who])
    verdict = compare(truths, probs["challenger"], probs["champion"], CLASSES, POLICY)
    assert verdict.outcome == "HOLD"
    assert len(verdict.reasons) == 1 and who in verdict.reasons[0]
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(verdict.reasons[0])


def test_too_few_rows_strange_truths_and_missing_answers_are_held():
    few = judged(49, (), range(20))
    assert few.outcome == "HOLD" and "49 audit rows; 50 are needed" in few.reasons[0]
    assert judged(50, (), range(20)).outcome == "PROMOTE"
    truths, right = rows(100)
    probs = answers(truths, right)
    for strange in (None, "cow", float("nan")):
        verdict = compare([strange, *truths[1:]], probs, None, CLASSES, POLICY)
        assert verdict.outcome == "HOLD" and "no class" in verdict.reasons[0]
    assert compare([], probs[:0], None, CLASSES, POLICY).outcome == "HOLD"


def test_slices_and_inclusion_probabilities_must_be_one_for_each_row():
    assert judged(300, (), range(99), slices=["a"] * 299).outcome == "HOLD"
    for drawn in (np.ones(299), np.zeros(300), np.full(300, np.nan)):
        assert judged(300, (), range(99), inclusion_probability=drawn).outcome == "HOLD"


@given(st.integers(0, 2**32 - 1))
def test_a_challenger_that_is_the_champion_is_never_promoted(seed):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(3), 80)
    truths = rng.choice(CLASSES, 80).tolist()
    assert compare(truths, probs, probs, CLASSES, POLICY).outcome == "HOLD"


def test_numbers_of_a_verdict_can_be_written_as_json():
    verdict = judged(300, range(10), range(60), slices=["a"] * 300)
    assert json.loads(json.dumps(verdict.metrics, allow_nan=False)) == verdict.metrics


@pytest.mark.parametrize(
    "given", [{"alpha": 0}, {"alpha": 0.6}, {"margin": 0}, {"margin": 1}, {"min_gain": -0.1},
              {"min_rows": 0}, {"min_slice_rows": 0}],
)  # fmt: skip
def test_a_bad_policy_is_refused_with_its_name(given):
    (name,) = given
    with pytest.raises(ValueError, match=rf"{name} is .*; choose"):
        GatePolicy(**given)
