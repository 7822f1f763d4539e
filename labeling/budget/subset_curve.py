"""How often a cheap head errs with few labels and with more: the shape of a learning curve.

A network would have to be trained again for every number of labels. A linear head on features that
no label has touched costs milliseconds, so that it can be asked again and again. Its features must
not come from a network that was trained on these labels: that has seen through all of them what a
head with a few of them should not know, and the curve would look flatter than it is.
"""

from collections.abc import Sequence

import numpy as np

SIZES = 7  # subsets in each other, in equal ratios
LEAST = 10  # labels in the smallest
SPAN = 16  # times as many in the largest: what happened long before says little of what comes
WIDTH = 128  # principal components kept; more cost time and gained nothing
HOLDS = np.logspace(-3, 3, 13)  # of the ridge, tried by leaving one out


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
    known, asked = _components(features, test_features)
    names = np.asarray(labels, dtype=object)
    sizes = subset_sizes(len(names))
    mistaken = np.empty((len(sizes), orders, len(truths)), dtype=bool)
    for order in range(orders):
        drawn = rng.permutation(len(names))
        for place, size in enumerate(sizes):
            some = drawn[:size]
            said = _head(known[some], names[some], asked)
            mistaken[place, order] = said != np.asarray(truths, dtype=object)
    return sizes, mistaken


def _components(features: np.ndarray, test_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in the principal components of both; no label is looked at."""
    rows = np.concatenate([features, test_features]).astype(np.float64)
    rows -= rows.mean(axis=0)
    spread = rows.std(axis=0)
    rows /= np.where(spread > 0, spread, 1)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    rows = rows @ vectors[:, ::-1][:, :WIDTH] / np.sqrt(max(values[-1] / len(rows), 1e-12))
    return rows[: len(features)], rows[len(features) :]


def _head(rows: np.ndarray, names: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """What a ridge classifier says, held as tightly as it does best when one row is left out."""
    classes, numbers = np.unique(names, return_inverse=True)
    middle, wanted = rows.mean(axis=0), np.eye(len(classes))[numbers]
    share = wanted.mean(axis=0)
    left, sizes, right = np.linalg.svd(rows - middle, full_matrices=False)
    turned = left.T @ (wanted - share)
    best, answer = np.inf, np.zeros((rows.shape[1], len(classes)))
    for hold in HOLDS:
        kept = sizes**2 / (sizes**2 + hold)
        own = (left**2) @ kept + 1 / len(rows)
        off = (wanted - share - left @ (kept[:, None] * turned)) / np.maximum(1 - own, 1e-3)[
            :, None
        ]
        if (off**2).sum() < best:
            best = float((off**2).sum())
            answer = right.T @ ((sizes / (sizes**2 + hold))[:, None] * turned)
    return np.asarray(classes[((asked - middle) @ answer + share).argmax(axis=1)])
