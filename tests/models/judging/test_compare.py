"""Two models on the same rows: intervals that cover, a difference that is paired, exact tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.judging.compare import (
    Comparison,
    compare,
    is_worse,
    one_sided_sign_test,
    sign_test,
    worst_mistakes,
)
from models.kinds import KINDS
from tests.models.judging.cases import CLASSES, outputs

KIND = KINDS["classification"]


def credit(count: int, *wrong: int) -> np.ndarray:
    """The credit of a model that is wrong on the rows named."""
    right = np.ones(count)
    right[list(wrong)] = 0
    return right


def judged(count: int, challenger: range, champion: range, alpha: float = 0.05) -> Comparison:
    """The comparison when each is wrong on the rows named."""
    return compare(credit(count, *challenger), credit(count, *champion), alpha=alpha)


@given(st.integers(0, 12), st.integers(0, 12))
def test_the_sign_test_is_mcnemars_and_the_exact_binomial_test(
    only_one: int, only_other: int
) -> None:
    from scipy.stats import binomtest

    one = np.repeat([True, False, True], [only_one, only_other, 3])
    other = np.repeat([False, True, True], [only_one, only_other, 3])
    split = only_one + only_other
    expected = binomtest(only_one, split).pvalue if split else 1.0
    assert sign_test(one, other) == pytest.approx(expected)
    assert sign_test(one, other) == sign_test(other, one)
    greater = binomtest(only_one, split, alternative="greater").pvalue if split else 1.0
    assert one_sided_sign_test(one, other) == pytest.approx(greater)


def test_tables_count_what_happened() -> None:
    truths = [CLASSES[number % 3] for number in range(9)]
    probs = outputs(truths, credit(9, 1, 3) > 0)
    assert (KIND.credit(probs, truths, CLASSES) == credit(9, 1, 3)).all()
    assert KIND.confusion(probs, truths, CLASSES).tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 3]]


def test_the_worst_mistakes_are_the_wrong_answers_it_was_surest_of() -> None:
    truths = [CLASSES[number % 3] for number in range(6)]
    probs = outputs(truths, credit(6, 1, 3, 4) > 0)
    probs[3] = [0.02, 0.97, 0.01]
    worst = worst_mistakes(probs, truths, CLASSES, most=2)
    assert worst["row"].tolist() == [3, 1]
    assert worst["truth"].tolist() == ["cat", "dog"]
    assert worst["predicted"].tolist() == ["dog", "eel"]
    assert worst_mistakes(probs[:1], truths[:1], CLASSES).empty


def test_both_are_measured_on_the_same_rows() -> None:
    result = judged(300, range(10), range(60))
    assert result.challenger.value == pytest.approx(290 / 300)
    assert result.champion.value == pytest.approx(240 / 300)
    assert result.difference.value == pytest.approx(50 / 300)
    assert (result.only_challenger, result.only_champion, result.worse) == (50, 0, False)
    assert judged(300, range(60), range(10)).worse


def test_worse_by_the_interval_alone_is_not_significant() -> None:
    five = judged(300, range(5), range(0))  # p = 0.0625, although the interval excludes zero
    assert five.difference.high < 0 and not five.worse
    assert judged(300, range(6), range(0)).worse  # p = 0.031


def test_the_level_is_that_of_the_interval_and_of_the_test() -> None:
    assert not is_worse(credit(300, *range(6)), credit(300), alpha=0.01)  # p = 0.031
    assert is_worse(credit(300, *range(9)), credit(300), alpha=0.01)  # p = 0.004
    by_interval = judged(600, range(8), range(0), alpha=0.01)  # p = 0.008
    assert by_interval.difference.high > 0 and not by_interval.worse


def test_intervals_are_wider_at_a_stricter_level() -> None:
    usual, strict = (judged(300, range(30), range(60), alpha) for alpha in (0.05, 0.01))
    for name in ("difference", "challenger", "champion"):
        wide, narrow = getattr(strict, name), getattr(usual, name)
        assert wide.value == narrow.value
        assert wide.low < narrow.low and wide.high > narrow.high
