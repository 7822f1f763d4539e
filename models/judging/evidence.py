"""How strongly the answers of a duel speak for a claim, at any time and however long one looks.

An answer is +1 where only the challenger is right, -1 where only the champion is, 0 where both are
wrong. A gambler who does not believe that the mean of such answers is above `null_mean` lets others
stake a part of their capital on each next answer at fair odds. If the mean is not above it, the
capital of whoever bets is expected to shrink, and the chance that it ever grows a hundredfold is
at most 1 in 100 (Ville's inequality), however often one looks and whenever one stops. The evidence
is that capital, starting from 1, spread evenly over all stakes between nothing and everything; it
depends on the counts of the answers alone. For `null_mean` = 0 it is the likelihood, averaged over
all chances above 1/2, against the chance of 1/2.

The answers must be drawn at random. Without replacement from a finite set the promise holds, too
(the tests compute it exactly for small sets).
"""

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

STAKES = (np.arange(512) + 0.5) / 512  # any fixed grid is valid; this one is exact to four digits
STEPS = 24  # of the bisection: bounds to six digits


class Mode(StrEnum):
    """What a challenger must show."""

    BETTER = "better"
    NOT_WORSE = "not-worse"


def log_evidence(wins: float, ties: float, losses: float, *, null_mean: float) -> float:
    """The natural logarithm of the evidence that the mean answer is above `null_mean`."""
    return float(log_evidences(wins, ties, losses, null_mean=null_mean))


def log_evidences(
    wins: ArrayLike, ties: ArrayLike, losses: ArrayLike, *, null_mean: ArrayLike
) -> np.ndarray:
    """`log_evidence` of many counts at once."""
    mean = np.asarray(null_mean, dtype=float)[..., None]
    if not ((mean > -1) & (mean < 1)).all():
        raise ValueError(f"null_mean is {mean[..., 0]}; it must lie between -1 and 1")
    won, tied, lost = (np.asarray(count, dtype=float)[..., None] for count in (wins, ties, losses))
    logs = (
        won * np.log1p(STAKES * (1 - mean) / (1 + mean))
        + tied * np.log1p(-STAKES * mean / (1 + mean))
        + lost * np.log1p(-STAKES)
    )
    most = logs.max(axis=-1, keepdims=True)
    return np.asarray(most[..., 0] + np.log(np.exp(logs - most).mean(axis=-1)))


def mean_bounds(
    wins: float, ties: float, losses: float, *, alpha: float = 0.05
) -> tuple[float, float]:
    """Bounds of the mean answer that hold at all times at once with a chance of 1 - `alpha`."""
    needed = -np.log(alpha / 2)
    return _lower(wins, ties, losses, needed), -_lower(losses, ties, wins, needed)


def _lower(wins: float, ties: float, losses: float, needed: float) -> float:
    """The largest mean that the answers speak against with `needed` nats; -1 without any."""
    low, high = -1.0, 1.0
    for _ in range(STEPS):  # the evidence falls as the mean it speaks against rises
        middle = (low + high) / 2
        against = log_evidence(wins, ties, losses, null_mean=middle) >= needed
        low, high = (middle, high) if against else (low, middle)
    return low
