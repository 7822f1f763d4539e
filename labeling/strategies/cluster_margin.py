"""Doubt spread out: among the samples with the smallest margins, one of every kind."""

import numpy as np

from labeling.strategies.kmeans import kmeans, main_space, nearest
from labeling.strategies.pool import Choice, Pool
from labeling.strategies.uncertainty import margin

BETA = 50  # smallest margins looked at for each one asked: room to spread, and still in uncertainty
BETA_CLUSTERS = 10  # as in the Cluster-Margin paper
_LEAST = 1e-6  # weight of a certain prediction, so that all-certain ones are still spread


def weighted_kmeans(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The samples nearest to the centres of an uncertainty-weighted k-means, of the least certain.

    The score is the uncertainty of the cluster that a sample represents.
    """
    rows, uncertainty = _most_uncertain(pool, _uncertainty(pool), BETA * size, rng)
    return _one_per_centre(pool, rows, uncertainty, size, rng)


def balanced(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """As `weighted_kmeans`, a sample's uncertainty weighted by how rare its likely classes are.

    Rare is what has few labels and is seldom predicted: for long tails.
    """
    assert pool.probs is not None
    rows, uncertainty = _most_uncertain(pool, _uncertainty(pool) * rarity(pool), BETA * size, rng)
    return _one_per_centre(pool, rows, uncertainty, size, rng)


def cluster_margin(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The most uncertain of each cluster in turn, the smallest clusters first (Citovsky 2021).

    The paper cuts a hierarchy of the whole pool, whose cost is quadratic; here k-means groups the
    uncertain ones. The score is the uncertainty.
    """
    rows, uncertainty = _most_uncertain(pool, _uncertainty(pool), BETA_CLUSTERS * size, rng)
    size = min(size, len(rows))
    if size < 1:
        return Choice(rows[:0], uncertainty[:0])
    which = _clusters(pool, rows, size, rng)[0]
    chosen = _in_turn(which, uncertainty)[:size]
    return Choice(rows[chosen], uncertainty[chosen])


def _uncertainty(pool: Pool) -> np.ndarray:
    if pool.probs is None:
        raise ValueError("a strategy by margin needs probabilities and the pool has none")
    return margin(pool.probs)


def rarity(pool: Pool) -> np.ndarray:
    """How rare each sample's class is likely to be: one over the share of labels, expected."""
    assert pool.probs is not None
    classes = pool.probs.shape[1]
    labels = np.empty(0, np.int64) if pool.labels is None else pool.labels
    counts = np.bincount(labels[(labels >= 0) & (labels < classes)], minlength=classes)
    predicted = pool.probs[pool.free].mean(axis=0) if len(pool.free) else 1 / classes
    # The pool's own share counts like one label a class: it decides while there are no labels.
    share = (counts + predicted * classes) / (counts.sum() + classes)
    return np.asarray(pool.probs @ (1 / np.maximum(share, 1e-3)))


def _most_uncertain(
    pool: Pool, uncertainty: np.ndarray, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the `most` highest uncertainty with it; equal ones are drawn at random."""
    order = rng.permutation(pool.free)
    if most < len(order):
        order = order[np.argpartition(-uncertainty[order], most)[:most]]
    rows = np.sort(order)
    return rows, uncertainty[rows].astype(np.float64)


def _clusters(
    pool: Pool,
    rows: np.ndarray,
    count: int,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each of these rows and the squared distance to its centre."""
    if pool.embeddings is None:
        raise ValueError("a strategy by margin and cluster needs embeddings and the pool has none")
    points = main_space(pool.embeddings, rows, rng).of(pool.embeddings, rows)
    return nearest(points, kmeans(points, count, rng, weights))


def _one_per_centre(
    pool: Pool, rows: np.ndarray, uncertainty: np.ndarray, size: int, rng: np.random.Generator
) -> Choice:
    """The row nearest to every centre, the weightiest cluster first; then what weighs most."""
    size = min(size, len(rows))
    if size < 1:
        return Choice(rows[:0], uncertainty[:0])
    weights = np.maximum(uncertainty, _LEAST)
    which, apart = _clusters(pool, rows, size, rng, weights)
    order = np.lexsort((apart, which))
    first = order[np.flatnonzero(np.diff(which[order], prepend=-1))]
    scores = np.bincount(which, weights, minlength=size)[which[first]]
    first = first[np.argsort(-scores, kind="stable")]
    # Copies of what is asked already: they are here because fewer differ than are wanted.
    rest = np.setdiff1d(np.arange(len(rows)), first)
    rest = rest[np.argsort(-uncertainty[rest], kind="stable")][: size - len(first)]
    scores = np.concatenate([-np.sort(-scores), np.zeros(len(rest))])
    return Choice(rows[np.concatenate([first, rest])], scores)


def _in_turn(which: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """All rows: the first of every cluster, the smallest cluster first, then the second ones."""
    order = np.lexsort((-uncertainty, which))
    sizes = np.bincount(which)
    starts = np.cumsum(sizes) - sizes
    turn = np.arange(len(which)) - starts[which[order]]
    return order[np.lexsort((which[order], sizes[which[order]], turn))]
