"""Calibration against the champion, and robustness: a loss that is shown holds."""

import math

import pytest

from core.intervals import Interval
from models.judging.criteria.calibration import calibration
from models.judging.criteria.robustness import robustness
from models.judging.criterion import Status
from models.judging.verdict import GatePolicy
from tests.models.judging.cases import ROBUST, better, case, rows

POLICY = GatePolicy()


def test_calibration_is_that_of_the_challenger_against_the_champions() -> None:
    [criterion] = calibration(better(), POLICY)
    assert criterion.status == Status.PASS and criterion.threshold == 0.05
    assert criterion.low is not None and criterion.high is not None
    assert criterion.low <= 0 <= criterion.high
    assert calibration(case(rows(60, (), None)), POLICY) == []


@pytest.mark.parametrize(
    ("worst", "status"),
    [
        (Interval(-0.21, -0.3, -0.1, 300), Status.FAIL),
        (Interval(-0.19, -0.3, -0.1, 300), Status.PASS),  # within twice the margin
        (Interval(-0.2, -0.5, 0.1, 30), Status.PASS),  # not shown
        (Interval(-0.05, -0.08, -0.02, 300), Status.PASS),  # far within it
        (Interval(math.nan, math.nan, math.nan, 300), Status.UNKNOWN),
    ],
)
def test_a_kind_of_corruption_holds_where_a_loss_above_twice_the_margin_is_shown(
    worst: Interval, status: Status
) -> None:
    [criterion] = robustness(better(robustness={**ROBUST, "blur": worst}), POLICY)
    assert (criterion.status, criterion.population) == (status, "blur")
    assert robustness(case(rows(60, (), None), robustness=None), POLICY) == []
