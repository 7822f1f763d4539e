"""Groups of near-duplicates: frames of a scene, repeated uploads. A group counts once."""

from dataclasses import dataclass

import numpy as np

FALSE_NEIGHBOURS = 0.08  # per row of a window: other images that are as near by chance
COMPARED = 1000  # rows of the reference, evenly: half a million pairs are enough
DIRECTIONS = 64  # that wide embeddings are projected on: enough to tell near from nearest
SEED = 20_000  # of the projection, which must be the same for reference and window


@dataclass(frozen=True)
class Nearness:
    """What two strangers are not: as alike in direction and as near as this."""

    cosine: float
    distance: float  # squared


def groups_of(
    reference: np.ndarray,
    embeddings: np.ndarray,
    given: np.ndarray | None = None,
    *,
    nearness: Nearness | None = None,
) -> np.ndarray:
    """The number of each row's group: rows that chains of near-duplicates join.

    Near is nearer than rows of the reference are to each other, but for a share that joins one row
    in twelve by chance; in direction alone, all rows of a large shift would be alike. Rows that
    share a number in `given` (a session; -1: none) are one group too. `nearness` is that of
    `nearest_strangers`, which checks of windows of one size need only once.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = len(embeddings)
    if rows == 0:
        return np.empty(0, np.intp)
    near = nearness or nearest_strangers(reference, rows)
    cosines, distances = _compared(embeddings, reference)
    close = (cosines > near.cosine) & (distances < near.distance)
    pairs = np.argwhere(np.triu(close, 1))
    if given is not None:
        order = np.argsort(given, kind="stable")
        same = (given[order][1:] == given[order][:-1]) & (given[order][1:] >= 0)
        pairs = np.vstack([pairs, np.column_stack([order[:-1][same], order[1:][same]])])
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    return connected_components(links, directed=False)[1].astype(np.intp)


def group_weights(groups: np.ndarray) -> np.ndarray:
    """The weight of each row: one over the rows of its group."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / sizes[numbers])


def nearest_strangers(reference: np.ndarray, rows: int) -> Nearness:
    """The nearness from which two of so many rows are near-duplicates."""
    if len(reference) < 2:
        return Nearness(0.999, 1e-3)
    reference = reference[:: -(-len(reference) // COMPARED)]
    above = np.triu_indices(len(reference), 1)
    cosines, distances = (table[above] for table in _compared(reference, reference))
    share = min(FALSE_NEIGHBOURS / max(rows, 1), 0.5)
    at = min(round(share * (len(distances) - 1)), len(distances) - 1)
    least = -float(np.partition(-cosines, at)[at])
    return Nearness(float(np.clip(least, 0.5, 0.9999)), float(np.partition(distances, at)[at]))


def _compared(embeddings: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs, around the mean of the reference, and their squared distances."""
    centre = reference.mean(axis=0) if len(reference) else np.zeros(embeddings.shape[1])
    rows = np.asarray(embeddings - centre, np.float32)
    if rows.shape[1] > DIRECTIONS:
        axes = np.random.default_rng(SEED).normal(size=(rows.shape[1], DIRECTIONS))
        rows = rows @ axes.astype(np.float32)
    products = rows @ rows.T
    squares = np.maximum(np.diag(products), 1e-12)
    distances = squares[:, None] + squares - 2 * products
    return products / np.sqrt(np.outer(squares, squares)), distances
