"""The typical of every group (TypiClust, Hacohen et al. 2022): for the very first labels."""

import heapq

import numpy as np

from labeling.strategies.kmeans import kmeans, main_space, nearest, squared_distances
from labeling.strategies.pool import Choice, Pool

CLUSTERS = 500  # at most, as in the paper; the size of the batch where that is larger
SMALL = 5  # a cluster of fewer waits for all others: it is as likely a few outliers
NEIGHBOURS = 20  # within the cluster, that say how typical a sample is
JUDGED = 512  # members of a cluster, drawn at random, among which the most typical is sought


def typiclust(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The most typical sample of the largest clusters that have the fewest labels.

    There are as many clusters as labels will be after the batch, so that each may have its own. The
    score is how typical the sample is: one over its mean distance to its neighbours.
    """
    rows, embeddings = pool.free, pool.embeddings
    if embeddings is None:
        raise ValueError("typiclust needs embeddings and the pool has none")
    size = min(size, len(rows))
    if size < 1:
        return Choice(rows[:0], np.empty(0))
    space = main_space(embeddings, rows, rng)
    points, labelled = space.of(embeddings, rows), space.of(pool.labelled)
    count = min(len(labelled) + size, max(CLUSTERS, size), len(rows))
    which, covered = _clusters(points, labelled, count, rng)
    order = np.argsort(which, kind="stable")
    members = np.split(order, np.searchsorted(which[order], np.arange(1, count)))
    picks, scores = _rounds(points, members, covered, size, rng)
    return Choice(rows[picks], scores)


def _clusters(
    points: np.ndarray, labelled: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of every point, and how many labels every cluster has."""
    both = np.concatenate([points, labelled]) if len(labelled) else points
    which, _ = nearest(both, kmeans(both, count, rng))
    return which[: len(points)], np.bincount(which[len(points) :], minlength=count)


def _rounds(
    points: np.ndarray,
    members: list[np.ndarray],
    covered: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """One after another from the cluster that has fewest labels, the largest of those."""
    waiting = [
        (len(rows) < SMALL, int(labels), -len(rows), number)
        for number, (rows, labels) in enumerate(zip(members, covered, strict=True))
        if len(rows)
    ]
    heapq.heapify(waiting)
    ranked: dict[int, list[tuple[int, float]]] = {}
    chosen: list[tuple[int, float]] = []
    while len(chosen) < size:
        small, labels, fewer, number = heapq.heappop(waiting)
        if number not in ranked:
            ranked[number] = _by_typicality(points, members[number], rng)
        chosen.append(ranked[number].pop())
        if ranked[number]:
            heapq.heappush(waiting, (small, labels + 1, fewer, number))
    picks, scores = zip(*chosen, strict=True)
    return np.array(picks, np.int64), np.array(scores, np.float64)


def _by_typicality(
    points: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """The members of a cluster and how typical each is, the most typical last; not judged is 0."""
    order = rng.permutation(rows)
    judged, rest = order[:JUDGED], order[JUDGED:]
    typical = _typicality(points[judged])
    order = np.argsort(typical, kind="stable")
    ranked = list(zip(judged[order].tolist(), typical[order].tolist(), strict=True))
    return [(row, 0.0) for row in rest.tolist()] + ranked


def _typicality(points: np.ndarray) -> np.ndarray:
    """One over the mean distance to the nearest others, at most half of them."""
    apart = squared_distances(points, points)
    np.fill_diagonal(apart, 0)
    neighbours = max(min(NEIGHBOURS, len(points) // 2), 1)
    near = np.partition(apart, min(neighbours, len(points) - 1), axis=1)[:, : neighbours + 1]
    return np.asarray(neighbours / np.maximum(np.sqrt(near).sum(axis=1), 1e-12))
