"""The audit's test: exact, one look, the same promise as a duel."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from models.judging.alpha_spending import alpha_of
from models.judging.duel import Counts, DuelPlan
from models.judging.evidence import Mode
from models.judging.mcnemar import audit_state, gain_p, loss_p
from models.judging.verdict import Outcome

PLAN = DuelPlan(1, alpha_of(1), Mode.BETTER, 0.02, 0.0, 400, ())
NOT_WORSE = replace(PLAN, mode=Mode.NOT_WORSE)


def test_the_gain_is_tested_by_the_exact_one_sided_test() -> None:
    assert gain_p(9, 2) == pytest.approx(binomtest(9, 11, alternative="greater").pvalue)
    assert gain_p(0, 0) == 1


def test_a_gain_promotes_where_the_margin_is_excluded_everywhere() -> None:
    pool = Counts(30, 400, 8)
    assert audit_state(PLAN, {"pool": pool}).outcome == Outcome.PROMOTE
    assert audit_state(replace(PLAN, alpha=alpha_of(50)), {"pool": pool}).outcome == Outcome.HOLD
    few = Counts(3, 20, 3)
    both = audit_state(PLAN, {"pool": few, "traffic": pool})
    assert both.outcome == Outcome.HOLD
    assert "a loss of 0.02 is not excluded" in both.reasons[0]


def test_a_loss_rejects_and_no_rows_hold() -> None:
    assert audit_state(PLAN, {"pool": Counts(3, 400, 20)}).outcome == Outcome.REJECT
    assert audit_state(PLAN, {"pool": Counts()}).outcome == Outcome.HOLD
    assert audit_state(PLAN, {}).outcome == Outcome.HOLD
    assert audit_state(NOT_WORSE, {"pool": Counts()}).outcome == Outcome.HOLD


def test_not_worse_is_promoted_without_a_gain() -> None:
    assert audit_state(NOT_WORSE, {"pool": Counts(20, 960, 20)}).outcome == Outcome.PROMOTE
    assert audit_state(NOT_WORSE, {"pool": Counts(4, 90, 6)}).outcome == Outcome.HOLD


@pytest.mark.parametrize("share", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("rows", [50, 150])
def test_a_loss_of_the_margin_passes_no_oftener_than_alpha(share: float, rows: int) -> None:
    rng, alpha = np.random.default_rng(rows), 0.05
    chances = [(share - 0.02) / 2, 1 - share, (share + 0.02) / 2]
    drawn, times = np.unique(rng.multinomial(rows, chances, size=600), axis=0, return_counts=True)
    passed = sum(
        count
        for parts, count in zip(drawn, times, strict=True)
        if loss_p(*parts.tolist(), margin=0.02, alpha=alpha) <= alpha
    )
    assert passed / 600 <= 0.07
