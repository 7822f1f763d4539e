"""Rules that decide by one audit, for many lives at once: the one before duels, and others."""

from statistics import NormalDist

import numpy as np
from scipy.stats import binom, norm

from models.judging.alpha_spending import alpha_of

Z = NormalDist().inv_cdf(0.975)


def right_on(
    rng: np.random.Generator, difficulty: np.ndarray, accuracy: np.ndarray, likeness: float
) -> np.ndarray:
    """Which rows a new model is right on; models of a life share how difficult each row is."""
    noise = rng.standard_normal(difficulty.shape, dtype=np.float32)
    ability = np.sqrt(likeness) * difficulty + np.sqrt(1 - likeness) * noise
    return np.asarray(ability < norm.ppf(accuracy)[:, None])


def likeness_of(disagreement: float, accuracy: float = 0.9) -> float:
    """The correlation at which models of one accuracy have so many decisive rows (bisected)."""
    difficulty = np.random.default_rng(0).standard_normal((1, 200_000))
    low, high = 0.0, 0.9999
    for _ in range(24):
        middle = (low + high) / 2
        rng = np.random.default_rng(1)
        share = np.array([accuracy])
        one, other = (right_on(rng, difficulty, share, middle) for _ in range(2))
        low, high = (middle, high) if (one != other).mean() > disagreement else (low, middle)
    return low


def counts_of(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows on which both, only `one`, only `other`, and neither is right, for each life."""
    parts = (one & other, one & ~other, ~one & other, ~one & ~other)
    return tuple(part.sum(axis=1) for part in parts)


def point_estimate_rule(both: np.ndarray, one: np.ndarray, other: np.ndarray, neither: np.ndarray
                        ) -> np.ndarray:  # fmt: skip
    """Before duels: more often right, and a loss of two points excluded by Newcombe's interval."""
    rows = both + one + other + neither
    share, base = (both + one) / rows, (both + other) / rows
    (low, high), (base_low, base_high) = _wilson(share, rows), _wilson(base, rows)
    margins = (both + one) * (other + neither) * (both + other) * (one + neither)
    rows = rows.astype(float)
    excess = (both * neither - one * other) / rows**2
    excess = np.where(excess < 0, excess, np.maximum(0, excess - 0.5 / rows))
    phi = np.where(
        margins > 0, excess / np.sqrt(np.maximum(margins, 1) / rows.astype(float) ** 4), 0
    )
    down, base_up = share - low, base_high - base
    up, base_down = high - share, base - base_low
    gain = share - base
    below = gain - np.sqrt(np.maximum(0, down**2 - 2 * phi * down * base_up + base_up**2))
    above = gain + np.sqrt(np.maximum(0, up**2 - 2 * phi * up * base_down + base_down**2))
    two_sided = 2 * binom.cdf(np.minimum(one, other), one + other, 0.5)
    worse = (above < 0) & (two_sided < 0.05)
    return np.asarray(~worse & (gain > 0) & (below > -0.02))


def _wilson(share: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = (share + Z * Z / (2 * rows)) / (1 + Z * Z / rows)
    half = Z * np.sqrt(share * (1 - share) / rows + Z * Z / (4 * rows**2)) / (1 + Z * Z / rows)
    return middle - half, middle + half


def mcnemar_rule(one: np.ndarray, other: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The audit's test of a gain: the exact one-sided McNemar test."""
    return np.asarray(binom.sf(one - 1, one + other, 0.5) <= alpha)


def rows_for(power: float, wins: float, losses: float, alpha: float) -> int:
    """The smallest audit in which McNemar's test at `alpha` sees the gain with this power."""
    low, high = 1, 2
    while _power(high, wins, losses, alpha) < power:
        low, high = high, high * 2
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _power(middle, wins, losses, alpha) >= power else (middle, high)
        )
    return high


def _power(rows: int, wins: float, losses: float, alpha: float) -> float:
    decisive = np.arange(rows + 1)
    needed = binom.isf(alpha, decisive, 0.5) + 1  # the fewest wins with sf(wins - 1) <= alpha
    shown = binom.sf(needed - 1, decisive, wins / (wins + losses))
    return float(binom.pmf(decisive, rows, wins + losses) @ shown)


def alphas(numbers: np.ndarray) -> np.ndarray:
    """`alpha_of` for many lives."""
    table = np.array([np.nan] + [alpha_of(number) for number in range(1, numbers.max() + 1)])
    return np.asarray(table[numbers])
