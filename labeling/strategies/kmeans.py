"""Groups of like samples: weighted k-means in the main directions of the embeddings.

Distances are measured in at most 64 directions, those in which a sample of the pool varies most:
what k-means loses by it is small beside its own chance, and a million rows of 512 numbers, which
are read once and never copied, become 256 MB.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

WIDTH = 64  # main directions kept; fewer where the embeddings have fewer
TO_TURN = 10_000  # rows that say which directions these are
PER_CENTRE = 64  # rows a centre is trained on; more change it little (and 2,000 in all at least)
PER_START = 16  # rows it may start from
ROUNDS = 20  # of Lloyd's; later ones move few rows
_CELLS = 1 << 20  # numbers in a block of distances: 4 MB, which stay in the cache


@dataclass(frozen=True)
class Space:
    """The main directions of some embeddings, about their mean."""

    mean: np.ndarray  # [width]
    axes: np.ndarray  # [width, directions]

    def of(self, embeddings: np.ndarray | None, rows: np.ndarray | None = None) -> np.ndarray:
        """The embeddings, or these rows of them, in this space: float32, none for None."""
        if embeddings is None:
            return np.empty((0, self.axes.shape[1]), np.float32)
        rows = np.arange(len(embeddings)) if rows is None else rows
        points = np.empty((len(rows), self.axes.shape[1]), np.float32)
        for block in blocks(len(rows), len(self.mean)):
            part = np.asarray(embeddings[rows[block]], np.float32)
            np.matmul(part - self.mean, self.axes, out=points[block])
        return points


def main_space(embeddings: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> Space:
    """The directions in which a sample of these rows varies most."""
    sample = np.sort(rng.choice(rows, min(len(rows), TO_TURN), replace=False))
    vectors = np.asarray(embeddings[sample], np.float32)
    mean = vectors.mean(axis=0) if len(vectors) else np.zeros(embeddings.shape[1], np.float32)
    centred = vectors - mean
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return Space(mean, np.ascontiguousarray(axes[:, ::-1][:, :WIDTH], np.float32))


def blocks(count: int, across: int) -> Iterator[slice]:
    """Slices over `count` rows, small enough that `across` numbers a row stay in the cache."""
    step = max(_CELLS // max(across, 1), 64)
    return (slice(start, start + step) for start in range(0, count, step))


def squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """From every point to every centre; never below zero."""
    apart = points @ (-2 * centres.T)
    apart += np.einsum("ij,ij->i", points, points)[:, None]
    apart += np.einsum("ij,ij->i", centres, centres)
    return np.asarray(np.maximum(apart, 0, out=apart))


def nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every point the number of its nearest centre, and the squared distance to it."""
    which = np.empty(len(points), np.int64)
    apart = np.empty(len(points), np.float32)
    turned, half = centres.T.copy(), np.einsum("ij,ij->i", centres, centres) / 2
    for block in blocks(len(points), len(centres)):
        near = points[block] @ turned
        near -= half
        which[block] = near.argmax(axis=1)
        best = np.take_along_axis(near, which[block][:, None], axis=1)[:, 0]
        apart[block] = np.einsum("ij,ij->i", points[block], points[block]) - 2 * best
    return which, np.maximum(apart, 0, out=apart)


def kmeans(
    points: np.ndarray, count: int, rng: np.random.Generator, weights: np.ndarray | None = None
) -> np.ndarray:
    """`count` centres, each the weighted mean of the points nearest to it.

    Of points that are many, a sample is used. Where fewer points differ than centres are wanted,
    some centres are equal and have no points of their own.
    """
    weights = np.ones(len(points), np.float32) if weights is None else weights.astype(np.float32)
    keep = rng.permutation(len(points))[: max(PER_CENTRE * count, 2_000)]
    points, weights = points[keep], weights[keep]
    start = slice(0, max(PER_START * count, 2_000))
    centres = _far_apart(points[start], count, rng, weights[start])
    before = None
    for _ in range(ROUNDS):
        which, apart = nearest(points, centres)
        if before is not None and np.array_equal(which, before):
            break
        centres, before = _moved(centres, points, weights, which, apart), which
    return centres


def _far_apart(
    points: np.ndarray, count: int, rng: np.random.Generator, weights: np.ndarray
) -> np.ndarray:
    """Points to start from (k-means++): each the best of a few drawn by weighted squared distance.

    The weighted draw alone would often begin twice in one group.
    """
    tries = 2 + int(math.log(count))
    centres = np.empty((count, points.shape[1]), np.float32)
    centres[0] = points[_drawn(weights, 1, rng)[0]]
    apart = squared_distances(centres[:1], points)[0] * weights
    for number in range(1, count):
        drawn = _drawn(apart, tries, rng)
        left = np.minimum(squared_distances(points[drawn], points) * weights, apart)
        best = left.sum(axis=1).argmin()
        centres[number], apart = points[drawn[best]], left[best]
    return centres


def _drawn(chances: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn in proportion to `chances`; all alike where they are all zero."""
    ladder = np.cumsum(chances, dtype=np.float64)
    if ladder[-1] <= 0:
        return rng.integers(len(chances), size=count)
    steps = np.searchsorted(ladder, rng.random(count) * ladder[-1], side="right")
    return np.asarray(np.minimum(steps, len(chances) - 1))


def _moved(
    centres: np.ndarray,
    points: np.ndarray,
    weights: np.ndarray,
    which: np.ndarray,
    apart: np.ndarray,
) -> np.ndarray:
    """The weighted means; a centre without points moves to a point that is far from its own."""
    order = np.argsort(which, kind="stable")
    starts = np.flatnonzero(np.diff(which[order], prepend=-1))
    own = which[order[starts]]
    mass = np.add.reduceat(weights[order], starts)[:, None]
    moved = centres.copy()
    sums = np.add.reduceat(points[order] * weights[order, None], starts, axis=0)
    moved[own] = sums / np.maximum(mass, np.finfo(np.float32).tiny)
    empty = np.setdiff1d(np.arange(len(centres)), own)
    if len(empty):
        far = np.argsort(-apart * weights, kind="stable")[: len(empty)]
        moved[empty[: len(far)]] = points[far]
    return moved
