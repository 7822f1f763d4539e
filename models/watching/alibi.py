"""Every call of Alibi Detect, whose licence does not cover every production use.

Each function takes rows of the reference and of the window and returns a p-value with the measure
it is of. To go without Alibi Detect: `scipy.stats.ks_2samp(..., method="asymp")` on each column is
`columns_test`, on the entropy `uncertainty_test`; `scipy.stats.chi2_contingency` on the counts of
both is `classes_test`; `models/watching/mmd.py` is `mmd_test`; `lsdd_test` has no substitute.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from alibi_detect.cd.base import BaseLSDDDrift, BaseMMDDrift


def columns_test(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The p-value and the distance of a two-sample KS test on each column."""
    from alibi_detect.cd import KSDrift

    p_values, distances = KSDrift(reference).score(window)
    return np.asarray(p_values, float), np.asarray(distances, float)


def uncertainty_test(reference: np.ndarray, window: np.ndarray) -> tuple[float, float]:
    """The p-value and the distance of a KS test on the entropy of class probabilities."""
    from alibi_detect.cd import ClassifierUncertaintyDrift

    detector = ClassifierUncertaintyDrift(reference, model=_unchanged)
    answer = detector.predict(window)["data"]
    return float(np.ravel(answer["p_val"])[0]), float(np.ravel(answer["distance"])[0])


def classes_test(
    reference: np.ndarray, window: np.ndarray, classes: int
) -> tuple[float, float, np.ndarray]:
    """The p-value and the statistic of a chi-squared test on class numbers, and its categories.

    Classes that neither side has are left out: their expected count is zero.
    """
    from alibi_detect.cd import ChiSquareDrift

    present = np.flatnonzero(
        np.bincount(reference, minlength=classes) + np.bincount(window, minlength=classes)
    )
    if len(present) < 2:
        return 1.0, 0.0, present
    detector = ChiSquareDrift(reference[:, None], categories_per_feature={0: present.tolist()})
    p_values, statistics = detector.score(window[:, None])
    return float(p_values[0]), float(statistics[0]), present


def mmd_test(
    reference: np.ndarray, window: np.ndarray, *, permutations: int, seed: int
) -> tuple[float, float]:
    """The p-value and the squared MMD of a permutation test; the sample counts as one of them."""
    from alibi_detect.cd import MMDDrift

    detector = MMDDrift(
        reference.astype(np.float32), backend="pytorch", n_permutations=permutations, device="cpu"
    )
    return _permuted(detector, window, permutations, seed)


def lsdd_test(
    reference: np.ndarray, window: np.ndarray, *, permutations: int, seed: int
) -> tuple[float, float]:
    """The p-value and the least-squares density difference of a permutation test, counted alike."""
    from alibi_detect.cd import LSDDDrift

    with _seeded(seed):
        detector = LSDDDrift(
            reference.astype(np.float32), backend="pytorch", n_permutations=permutations,
            n_kernel_centers=max(1, min(len(reference) // 20, 50)), device="cpu",
        )  # fmt: skip
    return _permuted(detector, window, permutations, seed)


def _permuted(
    detector: "BaseMMDDrift | BaseLSDDDrift", window: np.ndarray, permutations: int, seed: int
) -> tuple[float, float]:
    with _seeded(seed):
        share, distance, _ = detector.score(window.astype(np.float32))
    return (round(share * permutations) + 1) / (permutations + 1), float(distance)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch draws from the seed within, and afterwards as if it had not been used."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _unchanged(probabilities: np.ndarray) -> np.ndarray:
    return probabilities
