"""What all tests of a life spend together, and what a promotion gives back."""

import numpy as np
import pytest

from models.judging.alpha_spending import LIFE_ALPHA, alpha_of, left, next_number, spent
from models.judging.verdict import Outcome


def test_any_number_of_tests_spends_no_more_than_the_life_has() -> None:
    assert alpha_of(1) == pytest.approx(0.0304, abs=1e-4)
    assert spent(0) == 0
    assert 0.0499 < spent(5000) < LIFE_ALPHA
    assert left(20) == pytest.approx(LIFE_ALPHA - spent(20))
    assert left(5000) > 0


def test_only_tests_that_promote_nothing_use_up_a_number() -> None:
    assert next_number([]) == 1
    assert next_number([Outcome.HOLD, Outcome.PROMOTE, "PROMOTE", "REJECT"]) == 3


def test_the_promise_holds_in_lives_that_give_alpha_back() -> None:
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(4000):
        outcomes: list[Outcome] = []
        for better in rng.random(12) < 0.5:
            chance = 1.0 if better else alpha_of(next_number(outcomes))
            outcomes.append(Outcome.PROMOTE if rng.random() < chance else Outcome.HOLD)
            if outcomes[-1] == Outcome.PROMOTE and not better:
                wrong += 1
                break
    assert 0.02 < wrong / 4000 <= LIFE_ALPHA


def test_a_test_has_a_number_from_one() -> None:
    with pytest.raises(ValueError, match="the first is 1"):
        alpha_of(0)
