"""Uncertain samples that cover the uncertain part of the pool, and no part of it twice.

As in `uncertainty_herding` a sample of the pool is covered by a similar one among the chosen, and
counts the more the less certain its prediction is. The differences: the kernel is narrow and fixed,
so that a batch may go where the labels are already dense, and only the most uncertain samples may
be chosen. A few thousand comparisons then suffice, whatever the pool, and near copies of a chosen
sample gain nothing.
"""

import numpy as np

from labeling.strategies.cluster_margin import rarity
from labeling.strategies.kmeans import blocks, nearest, squared_distances
from labeling.strategies.pool import Choice, Pool
from labeling.strategies.uncertainty import margin

CANDIDATES = 2_000  # the most uncertain, which may be chosen; 20 for each place of larger batches
TARGETS = 2_000  # samples to cover; 5 for each place of larger batches
WIDTH = 8.0  # the kernel's variance is the median squared distance over this: chosen by benchmark
PROBABILITY_POWER = 0.5  # below 1: with few labels a model is surer than it is right
LEAST = 1e-6  # uncertainty, so that samples which are all certain are still spread
AT_ONCE = 32  # outdated gains that are computed together


def coverage(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The samples that cover most of the pool, beside what is labelled: for the first labels.

    The score is the share of the pool that a sample newly covers; a copy has none.
    """
    return _select(pool, _uncertainty(None, len(pool)), size, rng)


def uncertainty_coverage(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The samples that cover most of the uncertainty, beside what is labelled.

    The score is the share of the uncertainty that a sample newly covers; a copy has none.
    """
    powers = None if pool.probs is None else pool.probs**PROBABILITY_POWER
    return _select(pool, _uncertainty(powers, len(pool)), size, rng)


def rare_uncertainty_coverage(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """As `uncertainty_coverage`, weighted by how rare the likely classes are: for long tails.

    Rare is what has few labels and is seldom predicted.
    """
    if pool.probs is None:
        raise ValueError("rare_uncertainty_coverage needs probabilities and the pool has none")
    return _select(pool, _uncertainty(pool.probs, len(pool)) * rarity(pool), size, rng)


def _uncertainty(powers: np.ndarray | None, count: int) -> np.ndarray:
    """The margin of the normalised powers; without any, all samples are equally uncertain."""
    if powers is None:
        return np.ones(count)
    return np.asarray(np.maximum(margin(powers / powers.sum(axis=1, keepdims=True)), LEAST))


def _select(pool: Pool, uncertainty: np.ndarray, size: int, rng: np.random.Generator) -> Choice:
    if pool.embeddings is None:
        raise ValueError("uncertainty_coverage needs embeddings and the pool has none")
    free = pool.free
    size = min(size, len(free))
    if size < 1:
        return Choice(free[:0], np.empty(0))
    order = rng.permutation(free)
    targets = np.sort(order[: max(TARGETS, 5 * size)])
    count = min(max(CANDIDATES, 20 * size), len(order))
    rows = np.sort(order[np.argpartition(-uncertainty[order], count - 1)[:count]])
    target_points = np.asarray(pool.embeddings[targets], np.float32)
    sharp = _sharpness(target_points)
    near = _kernel(np.asarray(pool.embeddings[rows], np.float32), target_points, sharp)
    covered = np.zeros(len(target_points), np.float32)
    if pool.labelled is not None and len(pool.labelled):
        covered = np.exp(-sharp * nearest(target_points, np.asarray(pool.labelled, np.float32))[1])
    weights = (uncertainty[targets] / uncertainty[targets].sum()).astype(np.float32)
    picks, scores = _greedy(near, covered, weights, size)
    return Choice(rows[picks], scores)


def _sharpness(points: np.ndarray) -> float:
    """What squared distances are multiplied by in the kernel."""
    sample = points[: min(len(points), 500)]
    apart = squared_distances(sample, sample)[np.triu_indices(len(sample), 1)]
    median = float(np.median(apart)) if len(apart) else 0.0
    return WIDTH / 2 / median if median > 0 else 1.0


def _kernel(points: np.ndarray, target_points: np.ndarray, sharp: float) -> np.ndarray:
    near = np.empty((len(points), len(target_points)), np.float32)
    for block in blocks(len(points), len(target_points)):
        apart = squared_distances(points[block], target_points)
        apart *= -sharp
        np.exp(apart, out=near[block])
    return near


def _greedy(
    near: np.ndarray, covered: np.ndarray, weights: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """One after another the row that adds most: gains only fall, so few are looked at anew."""
    gains = _gains(near, covered, weights)
    updated_at = np.zeros(len(near), np.int64)  # the number of picks that a gain accounts for
    picks, scores = np.empty(size, np.int64), np.empty(size)
    for number in range(size):
        best = int(gains.argmax())
        while updated_at[best] < number:
            top = np.argpartition(-gains, min(AT_ONCE, len(gains)) - 1)[:AT_ONCE]
            stale = top[updated_at[top] < number]
            gains[stale], updated_at[stale] = _gains(near[stale], covered, weights), number
            best = int(gains.argmax())
        picks[number], scores[number] = best, gains[best]
        covered = np.maximum(covered, near[best])
        gains[best], updated_at[best] = -np.inf, size
    return picks, scores


def _gains(near: np.ndarray, covered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [
            np.maximum(near[block] - covered, 0) @ weights
            for block in blocks(len(near), len(weights))
        ]
    )
