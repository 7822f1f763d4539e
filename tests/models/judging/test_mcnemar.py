"""The outcomes by the audit alone."""

from dataclasses import replace

from models.judging.alpha_spending import alpha_of
from models.judging.duel import Counts, DuelPlan
from models.judging.evidence import Mode
from models.judging.mcnemar import audit_state
from models.judging.verdict import Outcome

PLAN = DuelPlan(1, alpha_of(1), Mode.BETTER, 0.02, 0.0, 400, ())
NOT_WORSE = replace(PLAN, mode=Mode.NOT_WORSE)


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
