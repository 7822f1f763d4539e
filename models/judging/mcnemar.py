"""The test of a challenger on audit rows, where no duel can be held.

All rows were labelled at random, whether the models agree on them or not. Each such test spends a
number of `alpha_spending`, like a duel, and has one look at rows that were fixed before.
"""

import math
from collections.abc import Mapping

import numpy as np

from core.intervals import Interval, paired_difference
from models.judging.alpha_spending import left, spent
from models.judging.duel import AGAINST, Counts, DuelPlan, DuelState, PopulationState
from models.judging.evidence import Mode
from models.judging.exact_tests import gain_p, loss_p
from models.judging.verdict import Outcome


def audit_state(plan: DuelPlan, counts: Mapping[str, Counts]) -> DuelState:
    """The outcome by the audit rows of each population; the ties are all rows without a winner."""
    views = {name: _view(plan, count, len(counts)) for name, count in counts.items()}
    gained = any(view.in_prospect for view in views.values())
    enough = gained or plan.mode == Mode.NOT_WORSE
    safe = all(view.safe for view in views.values())
    worse = [name for name, view in views.items() if view.worse]
    if enough and safe and views:
        outcome, reason = Outcome.PROMOTE, f"{plan.mode} by the audit"
    elif worse and not gained:
        outcome, reason = Outcome.REJECT, f"worse on the {' and the '.join(worse)}"
    else:
        missing = "no gain" if not enough else f"a loss of {plan.margin:g} is not excluded"
        outcome, reason = Outcome.HOLD, f"{missing} by the audit"
    rows = sum(count.settled for count in counts.values())
    return DuelState(
        outcome=outcome,
        reasons=[reason, *(_sentence(name, view) for name, view in views.items())],
        populations=views,
        log_evidence=max((view.log_evidence for view in views.values()), default=0.0),
        threshold=round(-math.log(plan.alpha / max(1, len(views))), 6),
        gained=gained,
        answers=rows,
        expected_answers=rows,
        likely=outcome,
        alpha=plan.alpha,
        spent=round(spent(plan.number, plan.life_alpha), 9),
        left=round(left(plan.number, plan.life_alpha), 9),
        next_answers=dict.fromkeys(views, False),
    )


def _view(plan: DuelPlan, counts: Counts, populations: int) -> PopulationState:
    gain = _gain(counts)
    p = gain_p(counts.wins, counts.losses) if gain.value > plan.min_gain else 1.0
    loss = loss_p(counts.wins, counts.ties, counts.losses, margin=plan.margin, alpha=plan.alpha)
    against = gain_p(counts.losses, counts.wins)
    return PopulationState(
        counts=counts,
        gain=gain,
        log_evidence=round(-math.log(p), 6),
        log_evidence_of_loss=round(-math.log(against), 6),
        log_evidence_of_safety=round(-math.log(loss), 6),
        gain_p=round(p, 12),
        safe=loss <= plan.alpha,
        worse=against <= 1 / (AGAINST * populations),
        lost=gain.high < -plan.margin,
        in_prospect=p <= plan.alpha / populations,
        left=0,
    )


def _gain(counts: Counts) -> Interval:
    """The difference of both accuracies with Newcombe's interval for pairs."""
    if not counts.settled:
        return Interval(0.0, -1.0, 1.0, 0)
    parts = [counts.wins, counts.ties, counts.losses]
    one, other = np.repeat([1, 1, 0], parts), np.repeat([0, 1, 1], parts)
    newcombe = paired_difference(one, other)
    value, low, high = (round(bound, 6) for bound in (newcombe.value, newcombe.low, newcombe.high))
    return Interval(value, low, high, counts.settled)


def _sentence(name: str, view: PopulationState) -> str:
    return (
        f"{name}: only the challenger is right on {view.counts.wins}, only the champion on "
        f"{view.counts.losses} of {view.counts.settled} rows; gain {view.gain.value:+.3f} "
        f"[{view.gain.low:+.3f}, {view.gain.high:+.3f}]"
    )
