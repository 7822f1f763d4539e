"""Exact tests of a gain, and of a loss of no more than a margin, by counts that were fixed before.

The gain: McNemar's one-sided test. The loss: the chance of so good a result if just `margin` were
lost, the largest over all shares of rows on which the models may differ (Berger and Boos, 1994:
over the bounds of that share, whose own error is added).
"""

import numpy as np

GRID = 64  # shares of differing rows at which the chance is computed


def gain_p(wins: int, losses: int) -> float:
    """The chance of so many wins among the decisive rows if both models are equally good."""
    from scipy.stats import binom

    return float(binom.sf(wins - 1, wins + losses, 0.5))


def loss_p(wins: int, ties: int, losses: int, *, margin: float, alpha: float) -> float:
    """The largest chance of so good a result if the challenger loses `margin`."""
    from scipy.special import betaincinv
    from scipy.stats import binom

    rows, differing = wins + ties + losses, wins + losses
    if not rows:
        return 1.0
    part = alpha / 20  # of the error, for each bound of the share of differing rows
    low = float(betaincinv(differing, rows - differing + 1, part)) if differing else 0.0
    high = float(betaincinv(differing + 1, rows - differing, 1 - part)) if rows > differing else 1.0
    if high <= margin:
        return 2 * part
    share = np.linspace(max(low, margin), high, GRID)[:, None]
    count = np.arange(rows + 1)
    # of `count` differing rows at least so many are won that wins - losses is as high
    needed = np.ceil((count + wins - losses) / 2)
    chances = binom.pmf(count, rows, share) * binom.sf(needed - 1, count, (1 - margin / share) / 2)
    return min(1.0, float(chances.sum(axis=1).max()) + 2 * part)
