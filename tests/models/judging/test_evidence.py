"""Evidence that cannot be talked up: exact for small sets, for every order and any time to stop."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import betainc, betaln

from models.judging.evidence import log_evidence, log_evidences, mean_bounds


def chance_of_ever(parts: tuple[int, ...], null_mean: float, alpha: float) -> float:
    """The exact chance that a finite set, drawn in random order, ever shows 1 / alpha."""
    shape = tuple(part + 1 for part in parts)
    wins, ties, losses = np.indices(shape)
    above = log_evidences(wins, ties, losses, null_mean=null_mean) >= -math.log(alpha)
    reached: np.ndarray = np.zeros(shape)
    reached[0, 0, 0], crossed = 1, 0.0
    for cell in sorted(np.ndindex(shape), key=sum):
        if above[cell]:
            crossed += float(reached[cell])
            continue
        remaining = [whole - 1 - part for whole, part in zip(shape, cell, strict=True)]
        for axis, count in enumerate(remaining):
            if count:
                following = tuple(part + (axis == i) for i, part in enumerate(cell))
                reached[following] += reached[cell] * count / sum(remaining)
    return crossed


@pytest.mark.parametrize("null_mean", [0.0, -0.25, 0.1])
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_a_finite_set_without_a_gain_seldom_shows_one(null_mean: float, alpha: float) -> None:
    sets = [
        parts
        for rows in (4, 9, 12)
        for parts in itertools.product(range(rows + 1), repeat=3)
        if sum(parts) == rows and (parts[0] - parts[2]) / rows <= null_mean
    ]
    chances = [chance_of_ever(parts, null_mean, alpha) for parts in sets]
    assert max(chances) <= alpha
    assert max(chances) > 0


def test_a_set_with_a_gain_shows_it() -> None:
    assert chance_of_ever((14, 0, 1), 0.0, 0.03) > 0.95  # the rule above can be broken


def test_without_a_margin_it_is_the_uniform_mixture_over_chances_above_one_half() -> None:
    for wins, losses in ((0, 0), (5, 0), (12, 3), (40, 45), (230, 170)):
        a, b = wins + 1, losses + 1
        exact = np.log(2) + betaln(a, b) + np.log(1 - betainc(a, b, 0.5)) + (a + b - 2) * np.log(2)
        assert log_evidence(wins, 7, losses, null_mean=0) == pytest.approx(exact, abs=0.005)


def test_evidence_grows_with_each_win_and_falls_as_the_claim_rises() -> None:
    means = np.linspace(-0.9, 0.9, 19)
    against = log_evidences(9, 3, 5, null_mean=means)
    assert (np.diff(against) < 0).all()
    assert (log_evidences(10, 3, 5, null_mean=means) > against).all()
    assert (log_evidences(9, 3, 6, null_mean=means) < against).all()


def test_the_bounds_close_in_on_the_mean_and_know_nothing_without_answers() -> None:
    assert mean_bounds(0, 0, 0) == (-1, 1)
    few, many = mean_bounds(6, 1, 3), mean_bounds(600, 100, 300)
    assert few[0] < many[0] < 0.3 < many[1] < few[1]
    assert many[1] - many[0] < 0.21
    low, high = mean_bounds(3, 1, 6)
    assert (-high, -low) == pytest.approx(few)


def test_the_bounds_hold_at_all_times_at_once() -> None:
    rng, misses = np.random.default_rng(3), 0
    lows = log_evidences(*_walks(rng), null_mean=0.2).max(axis=1) >= math.log(40)
    wins, ties, losses = _walks(rng)
    highs = log_evidences(losses, ties, wins, null_mean=-0.2).max(axis=1) >= math.log(40)
    misses = int(lows.sum() + highs.sum())
    assert 0 < misses <= 0.05 * 200


def _walks(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    answers = rng.choice([1, 0, -1], p=[0.5, 0.2, 0.3], size=(200, 100))
    return tuple((answers == value).cumsum(axis=1) for value in (1, 0, -1))


@pytest.mark.parametrize("mean", [-1.0, 1.0, math.nan])
def test_a_claim_that_no_answer_could_test_is_refused(mean: float) -> None:
    with pytest.raises(ValueError, match="between -1 and 1"):
        log_evidence(1, 1, 1, null_mean=mean)
