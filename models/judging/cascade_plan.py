"""What a cascade would cost and lose: for each threshold of the front model, by audit rows.

The threshold is chosen by fixed-sequence testing (as in Angelopoulos et al., "Learn then Test",
2021): the thresholds are fixed beforehand and tested from the most careful one down, each by the
exact test that no more accuracy is lost than stated, until the first that does not pass. Whatever
passes before it may be used: however many thresholds there are, the chance that any of them loses
more is below alpha. Taking the cheapest threshold whose *estimate* looks good would lose more than
stated about as often as not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from core.intervals import Interval, mean_interval, paired_difference
from models.judging.exact_tests import loss_p
from models.kinds import Kind
from models.serving.cascade import confidences

THRESHOLDS = (
    0.999, 0.995, 0.99, 0.98, 0.97, 0.95, 0.925, 0.9, 0.875, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.0,
)  # fmt: skip
ALPHA = 0.05  # the chance that the chosen threshold loses more than stated
STEPS = 10  # halvings until the bound of a loss is known to a thousandth
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Costs:
    """Milliseconds of one thread for an image, by front model and champion."""

    front_ms: float
    champion_ms: float

    def cascade_ms(self, escalated: float) -> float:
        """Milliseconds of an image where this share goes on to the champion."""
        return self.front_ms + escalated * self.champion_ms


@dataclass(frozen=True)
class Option:
    """A cascade at one threshold."""

    threshold: float
    escalated: Interval  # share of the images
    accuracy: Interval
    difference: Interval  # to the champion's accuracy, on the same rows
    loss_bound: float  # no more is lost, by a one-sided test of this threshold alone
    is_safe: bool  # by the tests in sequence
    ms: float  # of an image

    def price_of_thousand(self, price_per_hour: float) -> float:
        """What 1,000 images cost."""
        return price(self.ms, price_per_hour)


@dataclass(frozen=True)
class CascadePlan:
    """The options of one front model before the champion, and which one to take."""

    front: str
    champion: str
    rows: int
    loss: float  # of accuracy, at most
    alpha: float
    accuracy: Interval  # of the champion alone
    costs: Costs
    options: tuple[Option, ...]
    chosen: float | None
    why: str


@dataclass(frozen=True)
class Outputs:
    """What both models make of the same audit rows, and what these are."""

    front: np.ndarray
    champion: np.ndarray
    truths: Sequence[str]
    classes: Sequence[str]
    kind: Kind


def price(ms: float, price_per_hour: float) -> float:
    """What 1,000 images cost, of `ms` each."""
    return 1000 * ms / HOUR_MS * price_per_hour


def refuse_loss(loss: float) -> None:
    """An error where a loss of accuracy is none that can be stated."""
    if not 0 < loss < 1:
        raise ValueError(f"the loss of accuracy is {loss}; state one between 0 and 1, such as 0.01")


def plan_cascade(
    names: tuple[str, str],
    outputs: Outputs,
    costs: Costs,
    *,
    loss: float,
    alpha: float = ALPHA,
    thresholds: Sequence[float] = THRESHOLDS,
) -> CascadePlan:
    """The options of a front model before a champion (`names`), by what both make of audit rows.

    The rows must be none that either was trained on; the thresholds none that were taken from them.
    """
    refuse_loss(loss)
    if not len(outputs.truths):
        raise ValueError("no audit row is left that neither model learnt from: label audit samples")
    kind, classes = outputs.kind, outputs.classes
    sure = confidences(outputs.front, kind, classes)
    of_front, of_champion = (
        kind.credit(one, outputs.truths, classes) for one in (outputs.front, outputs.champion)
    )
    options, passes = list[Option](), True
    for threshold in sorted(thresholds, reverse=True):
        answered = sure >= threshold
        credit = np.where(answered, of_front, of_champion)
        passes = passes and _p(_counts(credit, of_champion), loss, alpha) <= alpha
        option = _option(threshold, answered, credit, of_champion, costs, alpha)
        options.append(replace(option, is_safe=passes))
    chosen, why = _choose(options, costs, loss, alpha, len(outputs.truths))
    return CascadePlan(
        front=names[0],
        champion=names[1],
        rows=len(outputs.truths),
        loss=loss,
        alpha=alpha,
        accuracy=mean_interval(of_champion),
        costs=costs,
        options=tuple(options),
        chosen=chosen,
        why=why,
    )


def _option(
    threshold: float,
    answered: np.ndarray,
    credit: np.ndarray,
    of_champion: np.ndarray,
    costs: Costs,
    alpha: float,
) -> Option:
    escalated = mean_interval(~answered)
    return Option(
        threshold=threshold,
        escalated=escalated,
        accuracy=mean_interval(credit),
        difference=paired_difference(credit, of_champion),
        loss_bound=_loss_bound(_counts(credit, of_champion), alpha),
        is_safe=False,
        ms=costs.cascade_ms(escalated.value),
    )


def _choose(
    options: Sequence[Option], costs: Costs, loss: float, alpha: float, rows: int
) -> tuple[float | None, str]:
    """The cheapest option that is safe and cheaper than the champion alone, and why."""
    safe = [one for one in options if one.is_safe]
    if not safe:
        first = options[0]
        least = int(np.ceil(np.log(1 / alpha) / loss))
        return None, (
            f"no threshold: even at {first.threshold:g} a loss of up to {first.loss_bound:.3f} is "
            f"not excluded by {rows} audit rows, and {loss:g} was stated. Without any row lost "
            f"about {least} rows show it: label more audit samples, or state a larger loss"
        )
    best = min(safe, key=lambda one: one.ms)
    if best.ms >= costs.champion_ms:
        return None, (
            f"no threshold: the cheapest safe one, {best.threshold:g}, takes {best.ms:.2f} ms an "
            f"image, and the champion alone {costs.champion_ms:.2f}"
        )
    return best.threshold, (
        f"at {best.threshold:g} no more than {loss:g} of accuracy is lost, with "
        f"{100 * (1 - alpha):g} % confidence over all thresholds of this plan, and an image takes "
        f"{best.ms:.2f} ms instead of {costs.champion_ms:.2f}"
    )


def _counts(credit: np.ndarray, of_champion: np.ndarray) -> tuple[int, int, int]:
    """Rows that the cascade gains, that change nothing, and that it loses."""
    wins, losses = int((credit > of_champion).sum()), int((credit < of_champion).sum())
    return wins, len(credit) - wins - losses, losses


def _p(counts: tuple[int, int, int], loss: float, alpha: float) -> float:
    return loss_p(*counts, margin=loss, alpha=alpha)


@lru_cache(maxsize=64)  # many thresholds have the same counts
def _loss_bound(counts: tuple[int, int, int], alpha: float) -> float:
    """The smallest loss that is excluded at `alpha`."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _p(counts, middle, alpha) <= alpha:
            high = middle
        else:
            low = middle
    return high
