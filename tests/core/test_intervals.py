"""Intervals that hold as often as they say, from published figures and from simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.intervals import (
    mean_interval,
    paired_difference,
    share_bounds,
    share_difference,
    wilson,
)


def test_wilson_gives_the_published_bounds():
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998a
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((20, 12, 2, 16), 0.0562, 0.3292)],
)
def test_the_paired_interval_gives_the_published_bounds(table, low, high):
    both, only_one, only_other, neither = table  # Newcombe 1998b, method 10
    one = np.repeat([True, True, False, False], [both, only_one, only_other, neither])
    other = np.repeat([True, False, True, False], [both, only_one, only_other, neither])
    found = paired_difference(one, other)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, low, high), abs=6e-4)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_the_interval_of_right_and_wrong_is_that_of_their_share(right):
    right = np.array(right)
    plain = mean_interval(right)
    assert plain.low <= plain.value + 1e-12 and plain.value <= plain.high + 1e-12
    share = right.mean()
    assert (plain.value, plain.rows) == (share, len(right))
    assert (plain.low, plain.high) == pytest.approx(share_bounds(share, len(right)), abs=1e-9)


@pytest.mark.parametrize("rows", range(1, 60))
def test_all_of_few_right_leaves_room_for_mistakes(rows):
    found = mean_interval(np.ones(rows, bool))
    assert found.low == pytest.approx(wilson(1.0, rows)[0]) and found.high == pytest.approx(1)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no row"):
        mean_interval(np.array([], bool))


def test_the_difference_of_two_shares_gives_the_published_bounds():
    found = share_difference(56, 70, 48, 80)  # Newcombe 1998c, method 10
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert all(map(math.isnan, share_difference(1, 2, 0, 0)))
    assert all(map(math.isnan, wilson(math.nan, 0)))


def test_the_interval_of_graded_credits_covers_the_difference():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        base = rng.beta(4, 2, 80)
        other = np.clip(base + rng.normal(0.05, 0.1, 80), 0, 1)
        truth = 0.0453  # mean of the difference of a million of them: clipping takes from 0.05
        found = paired_difference(other, base)
        covered += found.low <= truth <= found.high
    assert covered > 0.93 * 400


def test_equal_graded_credits_are_not_certainly_equal():
    found = paired_difference(np.full(50, 0.5), np.full(50, 0.5))
    assert found.value == 0 and found.low < 0 < found.high
