"""A greedy choice that knows the classes of the whole pool: what choosing can reach at all.

Each pick is the row whose label lowers the squared error of a ridge regression on the pool most,
exactly, by rank-one updates. A head is not a ridge regression, so a better oracle may exist.
"""

import numpy as np

HELD = 0.1  # the ridge: 1 / `head.STRENGTH`
CANDIDATES = 4_000  # rows that may be picked, drawn for every batch
TARGETS = 10_000  # rows whose error counts, drawn for every batch


def greedy(
    free: np.ndarray,
    classes: np.ndarray,
    labelled: np.ndarray,
    labels: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """`size` rows of `free`, whose `classes` are known, beside those that have labels."""
    count = int(max(classes.max(initial=0), labels.max(initial=0))) + 1
    rows = rng.permutation(len(free))
    candidates, targets = rows[: max(CANDIDATES, size)], rows[:TARGETS]
    points, truth = _with_one(free[candidates]), np.eye(count)[classes[candidates]]
    inverse, weights = _ridge(_with_one(labelled), np.eye(count)[labels])
    against = _with_one(free[targets])
    gram = against.T @ against
    reach = against.T @ np.eye(count)[classes[targets]]  # of a target's class along each feature
    moved = points @ inverse
    spread = np.einsum("ij,ij->i", moved @ gram, moved)  # squares of what a pick moves
    picked: list[int] = []
    for _ in range(size):
        slope = reach - gram @ weights
        missed = truth - points @ weights
        step = 1 + np.einsum("ij,ij->i", moved, points)
        gained = np.einsum("ij,ij->i", moved @ slope, missed) / step
        value = 2 * gained - spread * np.einsum("ij,ij->i", missed, missed) / step**2
        value[picked] = -np.inf
        best = int(value.argmax())
        picked.append(best)
        along = moved[best].copy()
        weights = weights + np.outer(along, missed[best]) / step[best]
        shares = (points @ along) / step[best]
        pull = gram @ along
        spread = spread - 2 * shares * (moved @ pull) + shares**2 * (along @ pull)
        moved -= np.outer(shares, along)
    return candidates[picked]


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.hstack([features, np.ones((len(features), 1), np.float32)])


def _ridge(points: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of the regularised second moments in float32, and the weights."""
    moments = points.T.astype(np.float64) @ points + HELD * np.eye(points.shape[1])
    inverse = np.linalg.inv(moments)
    return inverse.astype(np.float32), (inverse @ (points.T @ truth)).astype(np.float32)
