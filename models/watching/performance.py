"""How right a model was, from counts of what it answered against what was true.

Pure: a count is the number of predictions of one class whose truth is another or the same.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from core.intervals import Interval, share_bounds

ALPHA = 0.05
Cell = tuple[str, str]  # the class that was answered, and the one that is true


@dataclass(frozen=True)
class ClassPerformance:
    """How right a model is about one class; None where no row speaks about it."""

    name: str
    truths: int  # rows whose truth it is
    precision: Interval | None
    recall: Interval | None
    f1: Interval | None
    false_positive_rate: Interval | None  # of the rows of other classes


@dataclass(frozen=True)
class Performance:
    """How right a model is: over all rows, and about each class that occurs."""

    rows: int
    accuracy: Interval
    f1: Interval  # the mean over the classes
    false_positive_rate: Interval | None  # the mean over the classes, as F1
    classes: tuple[ClassPerformance, ...]


def performance(
    counts: Mapping[Cell, int], *, alpha: float = ALPHA, distinct: float = 1.0
) -> Performance | None:
    """The figures that follow from the counts; None where there are none.

    Rows about one scene say one thing: `distinct` is the share of the rows that intervals count.
    """
    names = sorted({name for cell, rows in counts.items() if rows for name in cell})
    if not names:
        return None
    matrix = confusion(counts, names)
    rows, right = int(matrix.sum()), np.diag(matrix)
    share = partial(_share, alpha=alpha, distinct=distinct)
    answered, true = matrix.sum(axis=1), matrix.sum(axis=0)
    of_classes = tuple(
        ClassPerformance(
            name,
            int(true[at]),
            precision=share(right[at], answered[at]),
            recall=share(right[at], true[at]),
            f1=_f1(share(right[at], answered[at] + true[at] - right[at])),
            false_positive_rate=share(answered[at] - right[at], rows - true[at]),
        )
        for at, name in enumerate(names)
    )
    accuracy = share(right.sum(), rows)
    f1 = _mean([one.f1 for one in of_classes if one.f1], rows, factor=_dependence(matrix))
    assert accuracy is not None and f1 is not None
    rates = [one.false_positive_rate for one in of_classes if one.false_positive_rate]
    return Performance(rows, accuracy, f1, _mean(rates, rows, factor=2.0), of_classes)


def confusion(counts: Mapping[Cell, int], names: Sequence[str]) -> np.ndarray:
    """The counts as a table: a row for each class answered, a column for each one that is true."""
    at = {name: place for place, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), np.int64)
    for (label, truth), rows in counts.items():
        if rows:
            matrix[at[label], at[truth]] += rows
    return matrix


def distinct_share(groups: Sequence[str]) -> float:
    """The share of rows that say something of their own, by the group that each is of (Kish)."""
    sizes = list(Counter(groups).values())
    return sum(sizes) / sum(size**2 for size in sizes) if sizes else 1.0


def _share(successes: float, rows: float, *, alpha: float, distinct: float) -> Interval | None:
    if not rows:
        return None
    share = float(successes) / float(rows)
    low, high = share_bounds(share, max(float(rows) * distinct, 1.0), alpha)
    return Interval(share, min(low, share), max(high, share), int(rows))


def _f1(share: Interval | None) -> Interval | None:
    """F1 of a class from the share of rows that are of it and were answered with it.

    Of those that are the one or the other. F1 rises with it.
    """
    if share is None:
        return None
    value, low, high = (2 * one / (1 + one) for one in (share.value, share.low, share.high))
    return Interval(value, low, high, share.rows)


def _mean(parts: Sequence[Interval], rows: int, *, factor: float) -> Interval | None:
    """The mean of intervals, each with the same weight: the method of variance estimates recovery.

    `factor` is by how much the variance is larger than that of independent parts.
    """
    if not parts:
        return None
    value = sum(part.value for part in parts) / len(parts)
    below = math.sqrt(factor * sum((part.value - part.low) ** 2 for part in parts)) / len(parts)
    above = math.sqrt(factor * sum((part.high - part.value) ** 2 for part in parts)) / len(parts)
    return Interval(value, max(0.0, value - below), min(1.0, value + above), rows)


def _dependence(matrix: np.ndarray) -> float:
    """By how much the classes' F1 together vary more than if they were independent.

    An error lowers F1 of two classes, of the one that is true and of the one that was answered. The
    factor is at most 2: so much it is where no error shows it.
    """
    right = np.diag(matrix).astype(float)
    size = matrix.sum(axis=0) + matrix.sum(axis=1)
    share = np.divide(2 * right, size, out=np.zeros_like(right), where=size > 0)
    slope = np.divide(share, size, out=np.zeros_like(share), where=size > 0)
    errors = matrix - np.diag(np.diag(matrix))
    of_right = right * np.square(np.divide(2 * (1 - share), size, out=slope * 0, where=size > 0))
    together = (errors * np.square(slope[:, None] + slope[None, :])).sum() + of_right.sum()
    apart = (errors * (np.square(slope)[:, None] + np.square(slope)[None, :])).sum()
    apart += of_right.sum()
    return float(np.clip(together / apart, 1.0, 2.0)) if apart > 0 else 2.0
