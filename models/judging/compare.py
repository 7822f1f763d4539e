"""Two models on the same rows: how right each is, the difference, and the tests of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.intervals import Interval, mean_interval, paired_difference
from models.kinds import DEFAULT, KINDS, Kind


@dataclass(frozen=True)
class Comparison:
    """The mean credit of both models on the same rows, and what is between them."""

    challenger: Interval
    champion: Interval
    difference: Interval
    only_challenger: int  # rows on which it alone is right
    only_champion: int
    worse: bool  # significantly


def compare(challenger: np.ndarray, champion: np.ndarray, *, alpha: float = 0.05) -> Comparison:
    """Both models' credits for the same rows in one order, compared."""
    return Comparison(
        challenger=mean_interval(challenger, alpha=alpha),
        champion=mean_interval(champion, alpha=alpha),
        difference=difference_of(challenger, champion, alpha=alpha),
        only_challenger=int((challenger > champion).sum()),
        only_champion=int((champion > challenger).sum()),
        worse=is_worse(challenger, champion, alpha=alpha),
    )


def difference_of(challenger: np.ndarray, champion: np.ndarray, *, alpha: float) -> Interval:
    """The mean of challenger - champion over the rows, with its interval."""
    return paired_difference(challenger, champion, alpha=alpha)


def is_worse(challenger: np.ndarray, champion: np.ndarray, *, alpha: float) -> bool:
    """Whether the interval of the difference is below zero and the exact test agrees."""
    below = difference_of(challenger, champion, alpha=alpha).high < 0
    return below and sign_test(challenger, champion) < alpha


def sign_test(one: np.ndarray, other: np.ndarray) -> float:
    """The exact two-sided p-value that `one` and `other` are equally often the better one.

    For credits of 0 and 1 it is the exact McNemar test.
    """
    return min(1.0, 2 * min(one_sided_sign_test(one, other), one_sided_sign_test(other, one)))


def one_sided_sign_test(one: np.ndarray, other: np.ndarray) -> float:
    """The exact p-value that `one` is the better one no more often than `other`."""
    wins, losses = int((one > other).sum()), int((other > one).sum())
    differing = wins + losses
    return sum(math.comb(differing, k) for k in range(wins, differing + 1)) / 2**differing


def worst_mistakes(
    outputs: np.ndarray,
    truths: Sequence[str],
    classes: Sequence[str],
    *,
    most: int = 16,
    kind: Kind = KINDS[DEFAULT],
) -> pd.DataFrame:
    """The rows without credit on which the model was most confident, worst first."""
    answers = kind.answers(outputs, classes)
    confidence = np.array([answer.confidence for answer in answers])
    wrong = np.flatnonzero(kind.credit(outputs, truths, classes) == 0)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return pd.DataFrame(
        {
            "row": worst,
            "truth": [truths[row] for row in worst],
            "predicted": [answers[row].label for row in worst],
            "confidence": confidence[worst],
        }
    )
