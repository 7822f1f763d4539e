"""Doubtful samples that stand for the doubtful part of the pool, and never twice for the same part.

As in `uncertainty_herding` every sample of the pool wants one like it among the asked, the more the
less sure its prediction is. What differs is that the kernel is narrow and fixed, so that a batch
may go where the labels are already dense, and that only the most doubtful may be asked: then a few
thousand comparisons do, whatever the pool, and near copies of what was asked gain nothing.
"""

import numpy as np

from labeling.strategies.cluster_margin import rarity
from labeling.strategies.kmeans import blocks, nearest, squared_distances
from labeling.strategies.pool import Choice, Pool
from labeling.strategies.uncertainty import margin

CANDIDATES = 2_000  # the most doubtful that may be asked; 20 for each place of larger batches
TARGETS = 2_000  # samples that want to be stood for; 5 for each place of larger batches
WIDTH = 8.0  # the kernel's variance is the median squared distance over this: chosen by benchmark
SOFTER = 0.5  # power of the probabilities: with few labels a model is surer than it is right
LEAST = 1e-6  # of doubt, so that all-certain samples are still spread
AT_ONCE = 32  # stale gains looked at anew together


def uncertainty_coverage(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The samples by which most doubt has something like it among the asked and labelled.

    The score is the share of the doubt that a sample newly stands for; a copy of another has none.
    """
    softer = None if pool.probs is None else pool.probs**SOFTER
    return _herd(pool, _doubt(softer, len(pool)), size, rng)


def rare_uncertainty_coverage(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """As `uncertainty_coverage`, doubt counted by how rare the likely classes are: for long tails.

    Rare is what has few labels and is seldom predicted.
    """
    if pool.probs is None:
        raise ValueError("rare_uncertainty_coverage needs probabilities and the pool has none")
    return _herd(pool, _doubt(pool.probs, len(pool)) * rarity(pool), size, rng)


def _doubt(powers: np.ndarray | None, count: int) -> np.ndarray:
    """The margin of what is in proportion to this; without any, all samples are in doubt alike."""
    if powers is None:
        return np.ones(count)
    return np.asarray(np.maximum(margin(powers / powers.sum(axis=1, keepdims=True)), LEAST))


def _herd(pool: Pool, doubt: np.ndarray, size: int, rng: np.random.Generator) -> Choice:
    if pool.embeddings is None:
        raise ValueError("uncertainty_coverage needs embeddings and the pool has none")
    free = pool.free
    size = min(size, len(free))
    if size < 1:
        return Choice(free[:0], np.empty(0))
    lot = rng.permutation(free)
    targets = np.sort(lot[: max(TARGETS, 5 * size)])
    count = min(max(CANDIDATES, 20 * size), len(lot))
    rows = np.sort(lot[np.argpartition(-doubt[lot], count - 1)[:count]])
    wants = np.asarray(pool.embeddings[targets], np.float32)
    sharp = _sharpness(wants)
    near = _kernel(np.asarray(pool.embeddings[rows], np.float32), wants, sharp)
    covered = np.zeros(len(wants), np.float32)
    if pool.labelled is not None and len(pool.labelled):
        covered = np.exp(-sharp * nearest(wants, np.asarray(pool.labelled, np.float32))[1])
    weights = (doubt[targets] / doubt[targets].sum()).astype(np.float32)
    picks, scores = _greedy(near, covered, weights, size)
    return Choice(rows[picks], scores)


def _sharpness(points: np.ndarray) -> float:
    """What squared distances are multiplied by in the kernel."""
    some = points[: min(len(points), 500)]
    apart = squared_distances(some, some)[np.triu_indices(len(some), 1)]
    median = float(np.median(apart)) if len(apart) else 0.0
    return WIDTH / 2 / median if median > 0 else 1.0


def _kernel(points: np.ndarray, wants: np.ndarray, sharp: float) -> np.ndarray:
    near = np.empty((len(points), len(wants)), np.float32)
    for block in blocks(len(points), len(wants)):
        apart = squared_distances(points[block], wants)
        apart *= -sharp
        np.exp(apart, out=near[block])
    return near


def _greedy(
    near: np.ndarray, covered: np.ndarray, weights: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """One after another the row that adds most: gains only fall, so few are looked at anew."""
    gains = _gains(near, covered, weights)
    seen = np.zeros(len(near), np.int64)  # how many picks the gain of a row knows of
    picks, scores = np.empty(size, np.int64), np.empty(size)
    for number in range(size):
        best = int(gains.argmax())
        while seen[best] < number:
            top = np.argpartition(-gains, min(AT_ONCE, len(gains)) - 1)[:AT_ONCE]
            stale = top[seen[top] < number]
            gains[stale], seen[stale] = _gains(near[stale], covered, weights), number
            best = int(gains.argmax())
        picks[number], scores[number] = best, gains[best]
        covered = np.maximum(covered, near[best])
        gains[best], seen[best] = -np.inf, size
    return picks, scores


def _gains(near: np.ndarray, covered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [
            np.maximum(near[block] - covered, 0) @ weights
            for block in blocks(len(near), len(weights))
        ]
    )
