"""Where a duel stands: what the answers so far show, and whether more of them are needed.

A duel asks about samples on which champion and challenger disagree, drawn at random from each
population (the pool, the traffic); samples on which they agree say nothing of which is better. The
gain of a population is the share of disagreements in it times the mean answer.

* PROMOTE in the mode `better`: the evidence of a gain reaches 1 / alpha, and in every population a
  loss of `margin` or more is excluded at alpha. The evidence of a gain is the mean, over all sets
  of populations, of the product of theirs: it grows where one population gains, and faster where
  all do. In the mode `not-worse` the second half is enough.
  A population of fewer than `fewest_scored` samples, such as the first hundred that were served,
  holds nothing up in the mode `better` unless evidence says that it loses.
* REJECT: somewhere worse (evidence of `AGAINST`, or the interval of the gain lies below -margin)
  and nowhere else a gain in prospect. In the mode `not-worse`: the interval lies below -margin.
* HOLD: nowhere a gain of `WORTH` in prospect; worse in one population while another may gain; the
  answers or the disagreements are used up.

Whichever way a challenger fails the promise, one of the two halves holds it with a chance of
1 - alpha at least; neither pays for the other. A fifth of alpha is for a last look, when the
answers (of one population) or the disagreements are used up: exact tests of `exact_tests`, which
see more than evidence does that may be looked at all along. In the second half a tenth is for the
bounds of the share of disagreements. Outcomes other than PROMOTE are about labour, not the promise.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from core.intervals import Interval
from models.judging.alpha_spending import LIFE_ALPHA, left, spent
from models.judging.evidence import Mode, log_evidence, mean_bounds
from models.judging.exact_tests import gain_p, loss_p
from models.judging.verdict import Outcome

WORTH = 0.005  # a gain below this is not worth more answers
FEWEST = 15  # answers before a duel may end because no gain is in prospect
AGAINST = 20  # times as likely if it is worse as if it is not
SHARE_OF_ALPHA = 0.1  # for the bounds of the share of disagreements
LAST_LOOK = 0.2  # of alpha: +2 points (9 %, tenth duel) within 400 answers in 0.87, not 0.77
GROWTH = 1.15  # from one projected number of answers to the next


@dataclass(frozen=True)
class Stratum:
    """A population as both models scored it: how many of its samples, and on how many they differ.

    Both count only samples that may be asked: none of the audit, none that either was trained on.
    """

    population: str
    scored: int
    disagreements: int
    whole: bool = False  # whether all of the population was scored: the share is no estimate

    def share_bounds(self, alpha: float) -> tuple[float, float]:
        """Bounds of the share of disagreements, each wrong with a chance of `alpha` at most."""
        from scipy.special import betaincinv

        if self.whole:
            return self.share, self.share
        differing, agreeing = self.disagreements, self.scored - self.disagreements
        low = float(betaincinv(differing, agreeing + 1, alpha)) if differing else 0.0
        high = float(betaincinv(differing + 1, agreeing, 1 - alpha)) if agreeing else 1.0
        return low, high

    @property
    def share(self) -> float:
        """The share of the scored samples on which the models disagree."""
        return self.disagreements / self.scored if self.scored else 0.0


@dataclass(frozen=True)
class DuelPlan:
    """What was fixed before the first answer; `number` and `alpha` are of `alpha_spending`."""

    number: int
    alpha: float
    mode: Mode
    margin: float
    min_gain: float
    most_answers: int
    strata: tuple[Stratum, ...]
    life_alpha: float = LIFE_ALPHA

    @property
    def fewest_scored(self) -> int:
        """Samples below which a loss of the margin is not excluded even where no answers differ."""
        return math.ceil(math.log(self.alpha * SHARE_OF_ALPHA) / math.log(1 - self.margin))


@dataclass(frozen=True)
class Counts:
    """The answers of one population; a doubtful one (disputed, skipped, deleted) is no evidence."""

    wins: int = 0
    ties: int = 0
    losses: int = 0
    doubtful: int = 0

    @property
    def settled(self) -> int:
        """The answers that say which model is right, or neither."""
        return self.wins + self.ties + self.losses

    @property
    def answers(self) -> int:
        """All that annotators were asked for."""
        return self.settled + self.doubtful


@dataclass(frozen=True)
class PopulationState:
    """What the answers of one population show."""

    counts: Counts
    gain: Interval  # holds at all times at once with a chance of 95 %; its rows are the answers
    log_evidence: float  # that there is a gain
    log_evidence_of_loss: float
    log_evidence_of_safety: float | None  # that there is no loss of the margin; None: not in doubt
    gain_p: float | None  # by the exact test of the last look; None before it
    safe: bool
    worse: bool  # evidence of a loss, however small
    lost: bool  # a loss of the margin is shown
    in_prospect: bool  # a gain that is worth more answers may still show
    left: int  # disagreements nobody was asked about


@dataclass(frozen=True)
class DuelState:
    """Where a duel stands; `outcome` None: it goes on, with `next_answers` of each population."""

    outcome: Outcome | None
    reasons: list[str]
    populations: dict[str, PopulationState]
    log_evidence: float
    threshold: float  # the log evidence that shows a gain, but for the last look
    gained: bool  # whether a gain is shown, by either
    answers: int
    expected_answers: int  # in all, until the likely outcome, if answers go on as they did
    likely: Outcome | None  # None: too few answers to say
    alpha: float
    spent: float  # of the life's alpha, with this duel as if it did not promote
    left: float
    next_answers: dict[str, bool]  # whether the next answers should come from this population


def duel_state(plan: DuelPlan, counts: Mapping[str, Counts]) -> DuelState:
    """What the answers so far show; it depends on the plan and the counts alone."""
    views = views_of(plan, counts)
    outcome, reasons = conclusion(plan, views)
    answers = sum(view.counts.answers for view in views.values())
    likely, expected = (
        (outcome, answers) if outcome is not None else _projection(plan, counts, answers)
    )
    gain = _together([view.log_evidence for view in views.values()])
    return DuelState(
        outcome=outcome,
        reasons=reasons,
        populations=views,
        log_evidence=round(gain, 6),
        threshold=round(_threshold(plan), 6),
        gained=_has_gained(plan, views),
        answers=answers,
        expected_answers=expected,
        likely=likely,
        alpha=plan.alpha,
        spent=round(spent(plan.number, plan.life_alpha), 9),
        left=round(left(plan.number, plan.life_alpha), 9),
        next_answers={name: outcome is None and is_open(plan, views, name) for name in views},
    )


def views_of(
    plan: DuelPlan, counts: Mapping[str, Counts], *, with_bounds: bool = True
) -> dict[str, PopulationState]:
    """What the answers of each population show; the bounds of the gain take most of the time."""
    views = {}
    for stratum in plan.strata:
        count = counts.get(stratum.population, Counts())
        gain = _gain(stratum, count) if with_bounds else Interval(0.0, -1.0, 1.0, count.settled)
        views[stratum.population] = _view(plan, stratum, count, gain)
    return views


def _view(plan: DuelPlan, stratum: Stratum, counts: Counts, gain: Interval) -> PopulationState:
    share = stratum.share_bounds(plan.alpha * SHARE_OF_ALPHA)
    is_last = _is_last(plan, stratum, counts)
    safety = _evidence_above(-plan.margin, share, counts)
    loss = log_evidence(counts.losses, counts.ties, counts.wins, null_mean=0)
    against = math.log(AGAINST * len(plan.strata))
    return PopulationState(
        counts=counts,
        gain=gain,
        log_evidence=_evidence_above(plan.min_gain, share, counts),
        log_evidence_of_loss=round(loss, 6),
        log_evidence_of_safety=safety if math.isfinite(safety) else None,
        gain_p=_gain_p(plan, counts) if is_last else None,
        safe=safety >= -math.log(plan.alpha * (1 - LAST_LOOK - SHARE_OF_ALPHA))
        or (is_last and is_safe_at_last(plan, stratum, counts))
        or (_is_too_small(plan, stratum) and loss < against),
        worse=loss >= against,
        lost=gain.high < -plan.margin,
        in_prospect=counts.settled < FEWEST or _prospect(counts) * share[1] >= _worth(plan),
        left=max(0, stratum.disagreements - counts.answers),
    )


def _is_too_small(plan: DuelPlan, stratum: Stratum) -> bool:
    """Whether a population beside another, such as ten served images, can show gains only."""
    beside_others = plan.mode == Mode.BETTER and len(plan.strata) > 1
    return beside_others and stratum.scored < plan.fewest_scored


def _gain_p(plan: DuelPlan, counts: Counts) -> float:
    return round(gain_p(counts.wins, counts.losses), 12) if plan.min_gain == 0 else 1.0


def _is_last(plan: DuelPlan, stratum: Stratum, counts: Counts) -> bool:
    """Whether no more answers will come. Two populations share the budget: it fixes neither."""
    most = stratum.disagreements
    if len(plan.strata) == 1:
        most = min(most, plan.most_answers)
    return 0 < most <= counts.answers


def is_safe_at_last(plan: DuelPlan, stratum: Stratum, counts: Counts) -> bool:
    """Whether the exact test excludes a loss of the margin; over all samples where it can."""
    alpha = plan.alpha * LAST_LOOK
    wins, ties, losses, margin = counts.wins, counts.ties, counts.losses, plan.margin
    if counts.answers >= stratum.disagreements:  # what was doubtful counts against the challenger
        losses += counts.doubtful
        ties = stratum.scored - wins - losses
    else:
        margin /= stratum.share_bounds(plan.alpha * SHARE_OF_ALPHA)[1]
    return loss_p(wins, ties, losses, margin=margin, alpha=alpha) <= alpha


def _evidence_above(gain: float, share: tuple[float, float], counts: Counts) -> float:
    """The log evidence that the population gains more than `gain`; rounded: equal everywhere."""
    low, high = share
    if gain < 0 and high <= -gain:
        return math.inf  # even if the champion were right on all disagreements
    if gain > 0 and low <= gain:
        return 0.0  # even if the challenger were right on all disagreements
    mean = gain / low if gain > 0 else gain / high if gain < 0 else 0.0
    evidence = log_evidence(counts.wins, counts.ties, counts.losses, null_mean=mean)
    # A gain above 0 leans on the share, too: its answers have the rest of alpha alone.
    return round(evidence + math.log(1 - SHARE_OF_ALPHA) if gain > 0 else evidence, 6)


def _gain(stratum: Stratum, counts: Counts) -> Interval:
    """The gain of the population with bounds that hold at all times at once."""
    share = stratum.share_bounds(LIFE_ALPHA * SHARE_OF_ALPHA / 2)
    alpha = LIFE_ALPHA * (1 - SHARE_OF_ALPHA)
    low, high = mean_bounds(counts.wins, counts.ties, counts.losses, alpha=alpha)
    mean = (counts.wins - counts.losses) / counts.settled if counts.settled else 0.0
    return Interval(
        round(stratum.share * mean, 6),
        round(low * share[low < 0], 6),
        round(high * share[high > 0], 6),
        counts.settled,
    )


def _prospect(counts: Counts) -> float:
    """The highest mean answer that is still plausible: a 95 % bound at this one time."""
    from scipy.special import betaincinv

    highest = float(betaincinv(counts.wins + 1, counts.losses + 1, 0.95))
    return (2 * highest - 1) * (counts.wins + counts.losses) / counts.settled


def _threshold(plan: DuelPlan) -> float:
    return -math.log(plan.alpha * (1 - LAST_LOOK))


def _worth(plan: DuelPlan) -> float:
    return max(WORTH, plan.min_gain)


def _together(evidence: Iterable[float]) -> float:
    """The log of the mean, over all sets of populations, of the product of their evidence."""
    each = list(evidence)
    sets = itertools.chain.from_iterable(
        itertools.combinations(each, size) for size in range(1, len(each) + 1)
    )
    products = np.array([sum(chosen) for chosen in sets])
    most = products.max()
    return float(most + np.log(np.exp(products - most).mean()))


def _has_gained(plan: DuelPlan, views: Mapping[str, PopulationState]) -> bool:
    last = [view.gain_p for view in views.values() if view.gain_p is not None]
    by_last_look = min(last, default=1.0) <= plan.alpha * LAST_LOOK / len(views)
    return by_last_look or _together(v.log_evidence for v in views.values()) >= _threshold(plan)


def is_open(plan: DuelPlan, views: Mapping[str, PopulationState], name: str) -> bool:
    """Whether answers of the population can still change the outcome."""
    view = views[name]
    if not view.left:
        return False
    if plan.mode == Mode.NOT_WORSE or _has_gained(plan, views):
        return not view.safe
    return view.in_prospect and not view.worse


def conclusion(
    plan: DuelPlan, views: Mapping[str, PopulationState]
) -> tuple[Outcome | None, list[str]]:
    """The outcome and its reasons; None while the duel goes on."""
    numbers = [_sentence(plan, name, view) for name, view in views.items()]
    gained = plan.mode == Mode.NOT_WORSE or _has_gained(plan, views)
    if gained and all(view.safe for view in views.values()):
        what = "better" if plan.mode == Mode.BETTER else f"no loss of {plan.margin:g} or more"
        return Outcome.PROMOTE, [what, *numbers]
    ended = _end(plan, views, gained)
    return (ended[0], [ended[1], *numbers]) if ended else (None, numbers)


def _end(
    plan: DuelPlan, views: Mapping[str, PopulationState], gained: bool
) -> tuple[Outcome, str] | None:
    """The outcome without a promotion, and why; None while the duel goes on."""
    lost = [name for name, view in views.items() if view.lost]
    worse = [name for name, view in views.items() if view.worse or view.lost]
    others = [view for name, view in views.items() if name not in worse]
    if plan.mode == Mode.NOT_WORSE and lost:
        return Outcome.REJECT, f"loses {plan.margin:g} or more on the {' and the '.join(lost)}"
    if plan.mode == Mode.BETTER:
        prospect = any(view.in_prospect for view in others)
        if worse and not prospect:
            return Outcome.REJECT, f"worse on the {' and the '.join(worse)}"
        if lost:
            where = " and the ".join(lost)
            return Outcome.HOLD, f"loses {plan.margin:g} or more on the {where}; may gain elsewhere"
        if not gained and not prospect:
            return Outcome.HOLD, f"no gain of {_worth(plan):g} or more is in prospect"
    if sum(view.counts.answers for view in views.values()) >= plan.most_answers:
        return Outcome.HOLD, f"not decided by {plan.most_answers} answers"
    if not any(view.left or view.counts.answers for view in views.values()):
        return Outcome.HOLD, "the models answer alike on all samples that were scored"
    if not any(is_open(plan, views, name) for name in views):
        return Outcome.HOLD, "not decided by the answers on all disagreements"
    return None


def _sentence(plan: DuelPlan, name: str, view: PopulationState) -> str:
    counts = view.counts
    decisive = counts.wins + counts.losses
    return (
        f"{name}: the challenger is right on {counts.wins}, the champion on {counts.losses} of "
        f"{decisive} decisive of {counts.answers} answers; gain {view.gain.value:+.3f} "
        f"[{view.gain.low:+.3f}, {view.gain.high:+.3f}]"
    )


def _projection(
    plan: DuelPlan, counts: Mapping[str, Counts], answers: int
) -> tuple[Outcome | None, int]:
    """The outcome, and after how many answers, if answers go on in the proportions so far."""
    if answers < FEWEST:
        return None, plan.most_answers
    factor = 1.0
    while True:
        factor *= GROWTH
        more = {name: _times(count, factor) for name, count in counts.items()}
        total = sum(count.answers for count in more.values())
        outcome, _ = conclusion(plan, views_of(plan, more, with_bounds=False))
        if outcome is not None:
            return outcome, min(total, plan.most_answers)


def _times(counts: Counts, factor: float) -> Counts:
    return Counts(
        wins=round(counts.wins * factor),
        ties=round(counts.ties * factor),
        losses=round(counts.losses * factor),
        doubtful=round(counts.doubtful * factor),
    )
