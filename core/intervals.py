"""Confidence intervals of shares, of means of credits in [0, 1] and of their differences."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

FEW = 3.5  # successes or failures up to which Wilson's bounds are too narrow


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds it lies between, with a confidence of 1 - alpha."""

    value: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(share: float, rows: float, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson's bounds of a share of `rows` (which may be an effective number); NaN for no rows."""
    if not rows:
        return math.nan, math.nan
    z = NormalDist().inv_cdf(1 - alpha / 2)
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    half /= 1 + z * z / rows
    return max(0.0, middle - half), min(1.0, middle + half)


def share_bounds(share: float, rows: float, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson's bounds, corrected where there are only a few successes or a few failures.

    There Wilson's are too narrow (at 99 % and ten rows they hold in 90 % instead of 95 %); the
    bound on the near side is that of a Poisson count instead (Brown, Cai and DasGupta, 2001).
    """
    from scipy.special import gammaincinv

    low, high = wilson(share, rows, alpha)
    if 0 < share < 0.5 - 1e-9 and share * rows <= FEW:
        low = min(low, float(gammaincinv(share * rows, alpha)) / rows)
    if 0.5 + 1e-9 < share < 1 and (1 - share) * rows <= FEW:
        high = max(high, 1 - float(gammaincinv((1 - share) * rows, alpha)) / rows)
    return low, high


def mean_interval(
    credit: np.ndarray, *, inclusion_probability: np.ndarray | None = None, alpha: float = 0.05
) -> Interval:
    """The mean credit (for credits of 0 and 1: the accuracy) of the population the rows are from.

    With inclusion probabilities it is Hájek's estimate; its interval is Wilson's for as many rows
    as would vary as much (no variation at all: Kish's number).
    """
    values = np.asarray(credit, dtype=float)
    if not len(values):
        raise ValueError("there is no row to estimate an accuracy from; label audit samples first")
    weights = inverse_probability_weights(len(values), inclusion_probability)
    mean = min(1.0, float(weights @ values))  # rounding: 20 of 20 were 1.0000000000000002
    variance = float((weights**2) @ (values - mean) ** 2)
    rows = mean * (1 - mean) / variance if variance > 0 else effective_rows(weights)
    low, high = share_bounds(mean, min(rows, len(values)), alpha)
    return Interval(mean, low, high, len(values))


def share_difference(
    successes: int, rows: int, other_successes: int, other_rows: int, alpha: float = 0.05
) -> tuple[float, float, float]:
    """The difference of two independent shares with Newcombe's bounds (his method 10); or NaN."""
    if not rows or not other_rows:
        return math.nan, math.nan, math.nan
    share, other = successes / rows, other_successes / other_rows
    (low, high), (other_low, other_high) = (
        wilson(share, rows, alpha),
        wilson(other, other_rows, alpha),
    )
    below = math.hypot(share - low, other_high - other)
    above = math.hypot(high - share, other - other_low)
    return share - other, share - other - below, share - other + above


def paired_difference(
    one: np.ndarray, other: np.ndarray, *, weights: np.ndarray, alpha: float = 0.05
) -> Interval:
    """The mean of `one` - `other` over the same rows, both credits in [0, 1], with its interval.

    Credits of 0 and 1: Newcombe's interval for pairs; else Agresti and Min's with two pseudo-rows.
    Both are sound also where few or no rows differ, where a bootstrap would claim certainty.
    Unequal weights count as Kish's number of rows.
    """
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    rows, weights = effective_rows(weights), weights / weights.sum()
    difference = float(weights @ (first - second))
    if np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        low, high = _newcombe(first > 0, second > 0, weights, rows, alpha)
    else:
        low, high = _agresti_min(first - second, weights, rows, alpha)
    return Interval(difference, max(-1.0, low), min(1.0, high), len(first))


def inverse_probability_weights(rows: int, inclusion_probability: np.ndarray | None) -> np.ndarray:
    """What each row stands for: the inverse of its inclusion probability, summing to one."""
    if inclusion_probability is None:
        return np.full(rows, 1 / rows)
    drawn = np.asarray(inclusion_probability, dtype=float)
    if len(drawn) != rows or not ((drawn > 0) & (drawn <= 1)).all():
        raise ValueError(
            f"{rows} inclusion probabilities above 0 and up to 1 are needed; "
            f"there are {len(drawn)}, from {drawn.min(initial=1):g} to {drawn.max(initial=0):g}"
        )
    return np.asarray((1 / drawn) / (1 / drawn).sum())


def effective_rows(weights: np.ndarray) -> float:
    """How many equally weighted rows have the same information (Kish)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _newcombe(
    one: np.ndarray, other: np.ndarray, weights: np.ndarray, rows: float, alpha: float
) -> tuple[float, float]:
    share, base = float(weights @ one), float(weights @ other)
    (low, high), (base_low, base_high) = wilson(share, rows, alpha), wilson(base, rows, alpha)
    phi = _phi(one, other, weights, rows)
    down, base_up = share - low, base_high - base
    up, base_down = high - share, base - base_low
    below = math.sqrt(max(0.0, down**2 - 2 * phi * down * base_up + base_up**2))
    above = math.sqrt(max(0.0, up**2 - 2 * phi * up * base_down + base_down**2))
    return share - base - below, share - base + above


def _phi(one: np.ndarray, other: np.ndarray, weights: np.ndarray, rows: float) -> float:
    """The correlation of the two, with Newcombe's continuity correction."""
    both, neither = float(weights @ (one & other)), float(weights @ (~one & ~other))
    only_one, only_other = float(weights @ (one & ~other)), float(weights @ (~one & other))
    margins = (
        (both + only_one) * (only_other + neither) * (both + only_other) * (only_one + neither)
    )
    if margins <= 0:
        return 0.0
    excess = both * neither - only_one * only_other
    return (excess if excess < 0 else max(0.0, excess - 0.5 / rows)) / math.sqrt(margins)


def _agresti_min(
    differences: np.ndarray, weights: np.ndarray, rows: float, alpha: float
) -> tuple[float, float]:
    """Wald's bounds after two more rows, whose squared differences sum to one and mean to zero."""
    more = rows + 2
    mean = rows * float(weights @ differences) / more
    square = (rows * float(weights @ differences**2) + 1) / more
    half = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt((square - mean**2) / more)
    return mean - half, mean + half
