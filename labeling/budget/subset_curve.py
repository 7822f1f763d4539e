"""How often a cheap head errs with few labels and with more: the shape of a learning curve.

A network would have to be trained again for every number of labels. A linear head on features that
depend on no label costs milliseconds, so that it can be trained for many subsets. Its features must
not come from a network that was trained on these labels: such a network contains what a head with a
few of them should not know, and the curve would look flatter than it is.
"""

from collections.abc import Sequence

import numpy as np

SIZES = 7  # subsets in each other, in equal ratios
LEAST = 10  # labels in the smallest
SPAN = 16  # times as many in the largest: errors with far fewer labels predict little
WIDTH = 128  # principal components; more cost time and gained nothing
PENALTIES = np.logspace(-3, 3, 13)  # of the ridge, chosen by leaving one row out


def subset_sizes(rows: int) -> np.ndarray:
    """How many labels each nested subset has, smallest first; the last one has all."""
    if rows < 2 * LEAST:
        raise ValueError(
            f"{rows} labels are too few to divide into subsets; {2 * LEAST} are needed: label more"
        )
    return np.unique(np.geomspace(max(LEAST, rows / SPAN), rows, SIZES).round().astype(int))


def subset_errors(
    features: np.ndarray,
    labels: Sequence[str],
    test_features: np.ndarray,
    truths: Sequence[str],
    rng: np.random.Generator,
    *,
    orders: int = 5,
) -> tuple[np.ndarray, np.ndarray]:
    """The sizes of the subsets, and whether each test row was mistaken [sizes, orders, rows].

    In each of the orders, drawn anew, a subset holds all smaller ones.
    """
    rows, test_rows = _components(features, test_features)
    names = np.asarray(labels, dtype=object)
    true_names = np.asarray(truths, dtype=object)
    sizes = subset_sizes(len(names))
    mistaken = np.empty((len(sizes), orders, len(truths)), dtype=bool)
    for order in range(orders):
        drawn = rng.permutation(len(names))
        for place, size in enumerate(sizes):
            subset = drawn[:size]
            mistaken[place, order] = (
                _predicted(rows[subset], names[subset], test_rows) != true_names
            )
    return sizes, mistaken


def _components(features: np.ndarray, test_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in the principal components of both, which depend on no label."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    whole = np.concatenate([features, test_features]).astype(np.float64)
    scaled = StandardScaler().fit_transform(whole)
    if not scaled.any():  # all rows are the same
        return scaled[: len(features)], scaled[len(features) :]
    pca = PCA(min(WIDTH, *scaled.shape), svd_solver="covariance_eigh")
    rows = pca.fit_transform(scaled) / np.sqrt(pca.explained_variance_[0])
    return rows[: len(features)], rows[len(features) :]


def _predicted(rows: np.ndarray, names: np.ndarray, test_rows: np.ndarray) -> np.ndarray:
    """The classes by a ridge classifier, with the penalty that is best when one row is left out.

    scikit-learn's RidgeClassifierCV predicts the same from 160 rows on, and takes 1.3 times as long
    for 4,000 rows, 3 to 7 times for 40; its forecasts in `benchmarks/forecast.py` are off by 0.015
    (0.016 here), and its bounds of the gain hold in 92 % (94 % here).
    """
    classes, numbers = np.unique(names, return_inverse=True)
    centre, targets = rows.mean(axis=0), np.eye(len(classes))[numbers]
    shares = targets.mean(axis=0)
    left, sizes, right = np.linalg.svd(rows - centre, full_matrices=False)
    turned = left.T @ (targets - shares)
    best, weights = np.inf, np.zeros((rows.shape[1], len(classes)))
    for penalty in PENALTIES:
        shrinkage = sizes**2 / (sizes**2 + penalty)
        leverage = (left**2) @ shrinkage + 1 / len(rows)
        residuals = targets - shares - left @ (shrinkage[:, None] * turned)
        left_out = residuals / np.maximum(1 - leverage, 1e-3)[:, None]
        if (left_out**2).sum() < best:
            best = float((left_out**2).sum())
            weights = right.T @ ((sizes / (sizes**2 + penalty))[:, None] * turned)
    return np.asarray(classes[((test_rows - centre) @ weights + shares).argmax(axis=1)])
