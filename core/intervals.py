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


def mean_interval(credit: np.ndarray, *, alpha: float = 0.05) -> Interval:
    """The mean credit (for credits of 0 and 1: the accuracy) of the population the rows are from.

    Each row counts the same. The interval is Wilson's, of graded credits for as many rows as would
    vary as much.
    """
    values = np.asarray(credit, dtype=float)
    if not len(values):
        raise ValueError("there is no row to estimate an accuracy from; label audit samples first")
    mean = float(values.mean())
    variance = float(((values - mean) ** 2).mean()) / len(values)
    rows = mean * (1 - mean) / variance if variance > 0 else len(values)
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


def paired_difference(one: np.ndarray, other: np.ndarray, *, alpha: float = 0.05) -> Interval:
    """The mean of `one` - `other` over the same rows, both credits in [0, 1], with its interval.

    Credits of 0 and 1: Newcombe's interval for pairs; else Agresti and Min's with two pseudo-rows.
    Both are sound also where few or no rows differ, where a bootstrap would claim certainty.
    """
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    difference = float((first - second).mean())
    if np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        low, high = _newcombe(first > 0, second > 0, alpha)
    else:
        low, high = _agresti_min(first - second, alpha)
    return Interval(difference, max(-1.0, low), min(1.0, high), len(first))


def _newcombe(one: np.ndarray, other: np.ndarray, alpha: float) -> tuple[float, float]:
    share, base, rows = float(one.mean()), float(other.mean()), len(one)
    (low, high), (base_low, base_high) = wilson(share, rows, alpha), wilson(base, rows, alpha)
    phi = _phi(one, other)
    down, base_up = share - low, base_high - base
    up, base_down = high - share, base - base_low
    below = math.sqrt(max(0.0, down**2 - 2 * phi * down * base_up + base_up**2))
    above = math.sqrt(max(0.0, up**2 - 2 * phi * up * base_down + base_down**2))
    return share - base - below, share - base + above


def _phi(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of the two, with Newcombe's continuity correction."""
    both, neither = float((one & other).mean()), float((~one & ~other).mean())
    only_one, only_other = float((one & ~other).mean()), float((~one & other).mean())
    margins = (
        (both + only_one) * (only_other + neither) * (both + only_other) * (only_one + neither)
    )
    if margins <= 0:
        return 0.0
    excess = both * neither - only_one * only_other
    return (excess if excess < 0 else max(0.0, excess - 0.5 / len(one))) / math.sqrt(margins)


def _agresti_min(differences: np.ndarray, alpha: float) -> tuple[float, float]:
    """Wald's bounds after two more rows, whose squared differences sum to one and mean to zero."""
    more = len(differences) + 2
    mean = float(differences.sum()) / more
    square = (float((differences**2).sum()) + 1) / more
    half = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt((square - mean**2) / more)
    return mean - half, mean + half
