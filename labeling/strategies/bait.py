"""BAIT: the samples after whose labels the predictions of the whole pool vary least.

A label adds u x x' to what is known of a linear head's weights, with x the embedding and u the
variance of its predicted class. A is the sum of that over the labels and F its mean over the pool:
trace(A^-1 F) is how much the predictions of the pool may still vary (Ash et al. 2021; here without
the terms between classes). One after another the sample is taken whose label lowers it most.

The head is found again from its predictions, because the labelled samples come without any.
"""

import numpy as np

from labeling.strategies.cluster_margin import rarity
from labeling.strategies.design import Design, Scale
from labeling.strategies.pool import Choice, Pool

RIDGE = 0.1  # of A, where embeddings have the mean square length one: a head's weight decay
EVERY = 100_000  # rows that may all be chosen; of a larger pool DRAWN are, the less certain rather
DRAWN = 20_000
TARGETS = 100_000  # rows that F is the mean of, over the classes told apart; of more they are drawn
FITTED = 5_000  # rows that scale and head are found from
MOST_CLASSES = 16  # told apart by class: those that are doubted most
LEAST = 1e-6  # variance of a prediction, so that among certain ones the pool is still covered


def bait(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The samples that lower the variance of the pool's predictions most, beside what is labelled.

    The score is the share of the variance that a label takes away. Of a pool of up to `EVERY` rows
    it is the exact greedy choice; of a larger one `DRAWN` may be chosen and `TARGETS` count.
    """
    return _select(pool, size, rng)


def rare_bait(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """As `bait`, every sample of the pool counted by how rare its likely classes are."""
    if pool.probs is None:
        raise ValueError("rare_bait needs probabilities and the pool has none")
    return _select(pool, size, rng, counts=rarity(pool))


def bait_by_class(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """As `bait`, with the weights of each class known by themselves: slower by their number.

    Of more than `MOST_CLASSES` classes those count that are doubted most.
    """
    if pool.probs is None:
        raise ValueError("bait_by_class needs probabilities and the pool has none")
    doubts = (pool.probs * (1 - pool.probs)).mean(axis=0)
    return _select(pool, size, rng, classes=np.argsort(-doubts, kind="stable")[:MOST_CLASSES])


def _select(
    pool: Pool,
    size: int,
    rng: np.random.Generator,
    *,
    counts: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> Choice:
    if pool.embeddings is None:
        raise ValueError("bait needs embeddings and the pool has none")
    order = rng.permutation(pool.free)
    size = min(size, len(order))
    if size < 1:
        return Choice(order[:0], np.empty(0))
    probs = np.full((len(pool), 2), 0.5, np.float32) if pool.probs is None else pool.probs
    variance = variances(probs, classes)
    targets = np.sort(order[: max(TARGETS // len(variance), 1)])
    counted = np.ones(len(targets)) if counts is None else counts[targets]
    every = slice(None, None, -(-len(targets) // FITTED))
    scale = Scale.of(pool.embeddings[targets[every]])
    points = scale.points(pool.embeddings[targets])
    wanted = information(points, variance[:, targets] * (counted / counted.sum()))
    known = RIDGE * np.eye(points.shape[1]) + np.zeros_like(wanted)
    if pool.labelled is not None and len(pool.labelled):
        labelled = scale.points(pool.labelled)
        predicted = Head(points[every], probs[targets[every]]).probs(labelled)
        known += information(labelled, variances(predicted, classes))
    rows = _candidates(order, variance, size, rng)
    design = Design(scale.points(pool.embeddings[rows]), variance[:, rows], known, wanted)
    picks, gains = design.choose(size)
    return Choice(rows[picks], gains)


def variances(probs: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    """That of each of these classes, p (1 - p) [classes, n]; or the mean over all [1, n]."""
    variance = probs * (1 - probs)
    chosen = variance.mean(axis=1)[None] if classes is None else variance[:, classes].T
    return np.asarray(np.maximum(chosen, LEAST))


def information(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum over rows of weight x x' [models, width, width], for each model's weights."""
    return np.stack([points.T @ (points * row[:, None].astype(np.float32)) for row in weights])


class Head:
    """The linear head that explains these predictions: the least squares of their logarithms.

    A linear head is found again, another one nearly so.
    """

    def __init__(self, points: np.ndarray, probs: np.ndarray) -> None:
        logits = np.log(np.maximum(probs, LEAST)).astype(np.float32)
        logits -= logits.mean(axis=1, keepdims=True)
        square = points.T @ points + 1e-3 * np.eye(points.shape[1], dtype=np.float32)
        self.weights = np.linalg.solve(square.astype(np.float64), points.T @ logits)

    def probs(self, points: np.ndarray) -> np.ndarray:
        """What it predicts for these, [n, classes]."""
        logits = points @ self.weights
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _candidates(
    order: np.ndarray, variance: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows that may be chosen, ascending: all of few; of many a draw by how much they are doubted.

    By class fewer are drawn, for each of them costs as much more as there are classes.
    """
    most = max(DRAWN // len(variance), 4 * size)
    if len(order) <= max(EVERY, most):
        return np.sort(order)
    doubts = variance.sum(axis=0)[order]
    keys = rng.exponential(size=len(order)) / doubts  # the least of exponential races
    return np.sort(order[np.argpartition(keys, most)[:most]])
