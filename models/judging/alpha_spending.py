"""How the chance of a wrong promotion is divided among all tests of a workspace's life.

The promise: the chance that evidence ever promotes a challenger that is not better (or, in the
mode `not-worse`, one that loses more than the margin) is at most `LIFE_ALPHA`. The k-th test may
promote wrongly with a chance of `alpha_of(k)`; these sum to `LIFE_ALPHA` over any number of tests.

A test that ends in a promotion gives its part back: k counts those that did not. Proof: as long as
no wrong promotion has happened, every promotion was of a better challenger, whose test could not
promote wrongly, so only tests that promoted nothing, and the present one, have used their part.
(The fallback procedure of Tian and Ramdas, 2021.) It needs answers that each test draws anew.
"""

import math
from collections.abc import Iterable

from models.judging.verdict import Outcome

LIFE_ALPHA = 0.05


def alpha_of(number: int, total: float = LIFE_ALPHA) -> float:
    """The chance with which the test of this number, from 1, may promote wrongly."""
    if number < 1:
        raise ValueError(f"the number of a test is {number}; the first is 1")
    return total * 6 / (math.pi * number) ** 2


def next_number(outcomes: Iterable[Outcome | str]) -> int:
    """The number of the test that follows tests with these outcomes."""
    return 1 + sum(outcome != Outcome.PROMOTE for outcome in outcomes)


def spent(count: int, total: float = LIFE_ALPHA) -> float:
    """What tests of the numbers 1 to `count` use together."""
    return math.fsum(alpha_of(number, total) for number in range(1, count + 1))


def left(count: int, total: float = LIFE_ALPHA) -> float:
    """What is left for all tests that follow the number `count`."""
    return total - spent(count, total)
