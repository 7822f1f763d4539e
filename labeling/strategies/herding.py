"""Samples that represent the rest: greedy coverage of the pool, by balls or by a kernel.

Coverage is measured on at most 10,000 samples of the pool, drawn at random (by uncertainty where
uncertainty counts), block by block: it takes up to 200 MB whatever the pool.
"""

import numpy as np

from labeling.strategies.kmeans import blocks, kmeans, main_space, nearest, squared_distances
from labeling.strategies.pool import Choice, Pool
from labeling.strategies.uncertainty import margin

SAMPLE = 10_000  # samples compared with one another
PURE = 0.95  # share of balls that must hold one cluster only, as in the ProbCover paper
CLASSES = 10  # taken for the number of clusters where neither labels nor predictions tell
JUDGED = 2_000  # rows that set a radius, a width, a temperature: more change it little
HALVINGS = 20  # of the radius; then all that is left are copies
COOLEST = -0.5  # power of ten of a temperature; colder, only exact ties would stay uncertain
AT_ONCE = 64  # outdated gains that are computed together


def prob_cover(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """Centres of the balls that hold most of what no ball holds yet (Yehuda et al. 2022).

    The radius is the largest at which 95 % of balls keep within one cluster, of as many clusters as
    there are classes; it is halved whenever all is covered. The score is the share newly covered.
    """
    rows, points, asked, _ = _sample(pool, size, np.ones(len(pool)), rng)
    size = min(size, len(rows))
    picks: list[int] = []
    scores: list[float] = []
    radius = _pure_radius(points, _classes(pool), rng) if size else 0.0
    for _ in range(HALVINGS):
        if len(picks) >= size:
            break
        centres = np.concatenate([asked, points[picks]])
        for row, share in _balls(points, centres, picks, size - len(picks), radius):
            picks.append(row)
            scores.append(share)
        radius /= 2
    rest = np.setdiff1d(np.arange(len(rows)), picks)[: size - len(picks)]
    chosen = np.concatenate([np.array(picks, np.int64), rest])
    return Choice(rows[chosen], np.concatenate([scores, np.zeros(len(rest))]))


def max_herding(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """Samples by which every sample has a similar one among the asked (Bae et al. 2024).

    Greedy on the mean over the pool of the Gaussian kernel to the nearest asked or labelled; its
    width is half the median distance between samples. The score is what the mean gains.
    """
    rows, points, asked, weights = _sample(pool, size, np.ones(len(pool)), rng)
    return _herd(rows, points, asked, weights, size, _median_distance(points) / 2)


def uncertainty_herding(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """As `max_herding`, every sample counted by how uncertain its prediction is (Bae et al. 2025).

    With few labels the kernel is wide and the predictions are flattened: it is herding. As labels
    come nearer to each other and predict each other better, it becomes uncertainty.
    """
    rows, points, asked, weights = _sample(pool, size, calibrated_uncertainty(pool, rng), rng)
    width = _distance_among(asked) or _median_distance(points) / 2
    return _herd(rows, points, asked, weights, size, width)


def calibrated_uncertainty(pool: Pool, rng: np.random.Generator) -> np.ndarray:
    """The margin of each prediction, at the temperature at which confidence matches accuracy.

    The accuracy is how often a labelled sample has the class of its nearest labelled neighbour.
    Without labels to measure it, all samples are equally uncertain.
    """
    if pool.probs is None:
        raise ValueError("uncertainty_herding needs probabilities and the pool has none")
    right = _neighbours_agree(pool, rng)
    if right is None:
        return np.ones(len(pool))
    judged = pool.probs[rng.choice(len(pool), min(len(pool), JUDGED), replace=False)]
    low, high = COOLEST, 3.0  # powers of ten of the temperature; confidence falls with it
    for _ in range(20):
        middle = (low + high) / 2
        sure = _at_temperature(judged, 10**middle).max(axis=1).mean()
        low, high = (middle, high) if sure > right else (low, middle)
    return margin(_at_temperature(pool.probs, 10**low))


def _neighbours_agree(pool: Pool, rng: np.random.Generator) -> float | None:
    """How often a labelled sample has the class of its nearest other; None with too few labels."""
    if pool.labelled is None or pool.labels is None:
        return None
    known = np.flatnonzero(pool.labels >= 0)
    if len(known) < 2:
        return None
    known = np.sort(rng.choice(known, min(len(known), JUDGED), replace=False))
    apart = squared_distances(pool.labelled[known], pool.labelled[known])
    np.fill_diagonal(apart, np.inf)
    names = pool.labels[known]
    agree = int((names[apart.argmin(axis=1)] == names).sum())
    return (agree + 0.5) / (len(names) + 1)  # of a few labels all may agree by chance


def _at_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    logits = np.log(np.maximum(probs, 1e-12)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sample(
    pool: Pool, size: int, weights: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows to compare, their points and those of the labelled, and what each row counts.

    All free rows if they are few enough; else they are drawn by weight, and count the same.
    """
    rows, embeddings = pool.free, pool.embeddings
    if embeddings is None:
        raise ValueError("a strategy that covers the pool needs embeddings and there are none")
    most = max(SAMPLE, size)
    weights = np.maximum(weights[rows], 1e-9)
    if len(rows) > most:
        # The largest keys of exponential races: a draw without replacement by weight.
        keys = rng.exponential(size=len(rows)) / weights
        rows = np.sort(rows[np.argpartition(keys, most)[:most]])
        weights = np.ones(most)
    space = main_space(embeddings, rows, rng)
    return rows, space.of(embeddings, rows), space.of(pool.labelled), weights.astype(np.float32)


def _herd(
    rows: np.ndarray,
    points: np.ndarray,
    asked: np.ndarray,
    weights: np.ndarray,
    size: int,
    width: float,
) -> Choice:
    """Rows one after another, each the one by which the covered weight grows most.

    Gains only fall, so only those that might be the largest are computed again: exact.
    """
    size, sharp = min(size, len(rows)), 1 / (2 * max(width, 1e-12) ** 2)
    covered = np.zeros(len(points), np.float32)
    if len(asked):
        covered = np.exp(-sharp * nearest(points, asked)[1])
    gains = np.concatenate(
        [_gains(points, points[part], covered, weights, sharp) for part in _parts(len(points))]
        or [np.empty(0)]
    )
    picks, scores = [], []
    for _ in range(size):
        best = _refresh(gains, points, covered, weights, sharp)
        picks.append(best)
        scores.append(max(float(gains[best]), 0.0) / float(weights.sum()))
        gains[best] = -np.inf
        near = np.exp(-sharp * squared_distances(points, points[[best]])[:, 0])
        covered = np.maximum(covered, near)
    return Choice(rows[picks], np.array(scores))


def _refresh(
    gains: np.ndarray,
    points: np.ndarray,
    covered: np.ndarray,
    weights: np.ndarray,
    sharp: float,
) -> int:
    """The row of the largest gain, once no stale one is above it; gains are made fresh in place."""
    fresh = np.isneginf(gains)
    count = min(AT_ONCE, len(gains))
    while True:
        top = np.argpartition(-gains, count - 1)[:count]
        best = top[np.lexsort((top, -gains[top]))[0]]
        if fresh[best]:
            return int(best)
        stale = top[~fresh[top]]
        gains[stale] = _gains(points, points[stale], covered, weights, sharp)
        fresh[stale] = True


def _gains(
    points: np.ndarray,
    candidates: np.ndarray,
    covered: np.ndarray,
    weights: np.ndarray,
    sharp: float,
) -> np.ndarray:
    """What each candidate adds to the covered weight."""
    near = squared_distances(candidates, points)
    near *= -sharp
    np.exp(near, out=near)
    near -= covered
    return np.asarray(np.maximum(near, 0, out=near) @ weights)


def _parts(count: int) -> list[slice]:
    return list(blocks(count, SAMPLE))


def _median_distance(points: np.ndarray) -> float:
    """Between samples: the points come in no order that matters, so the first ones do."""
    sample = points[:JUDGED:2]
    if len(sample) < 2:
        return 1.0
    apart = squared_distances(sample, sample)[np.triu_indices(len(sample), 1)]
    return float(np.sqrt(np.median(apart))) or 1.0


def _distance_among(asked: np.ndarray) -> float:
    """The median distance of a labelled sample to the nearest other; 0 where that says nothing."""
    newest = asked[-JUDGED:]
    if len(newest) < 2:
        return 0.0
    apart = squared_distances(newest, newest)
    np.fill_diagonal(apart, np.inf)
    return float(np.sqrt(np.median(apart.min(axis=1))))


def _classes(pool: Pool) -> int:
    if pool.probs is not None:
        return int(pool.probs.shape[1])
    if pool.labels is not None and (pool.labels >= 0).any():
        return int(pool.labels.max()) + 1
    return CLASSES


def _pure_radius(points: np.ndarray, clusters: int, rng: np.random.Generator) -> float:
    """The largest radius at which `PURE` of the balls hold samples of one cluster only."""
    judged = points[np.sort(rng.choice(len(points), min(len(points), JUDGED), replace=False))]
    which, _ = nearest(judged, kmeans(judged, min(clusters, len(judged)), rng))
    apart = squared_distances(judged, judged)
    apart[which[:, None] == which] = np.inf
    to_others = np.sqrt(apart.min(axis=1))
    radius = (
        float(np.quantile(to_others[np.isfinite(to_others)], 1 - PURE, method="lower"))
        if (np.isfinite(to_others).any())
        else _median_distance(points)
    )
    return radius or _median_distance(points) / 2


def _balls(
    points: np.ndarray, centres: np.ndarray, taken: list[int], count: int, radius: float
) -> list[tuple[int, float]]:
    """Centres and the share each newly covers, until all is covered or there are `count`."""
    uncovered = np.ones(len(points), dtype=bool)
    if len(centres):
        uncovered = nearest(points, centres)[1] > radius**2
    uncovered[taken] = False
    inside = np.empty((len(points), len(points)), dtype=bool)
    for part in _parts(len(points)):
        inside[part] = squared_distances(points[part], points) <= radius**2
    holds = inside[:, uncovered].sum(axis=1)
    balls: list[tuple[int, float]] = []
    while len(balls) < count and holds.max(initial=0) > 0:
        best = int(holds.argmax())
        balls.append((best, float(holds[best]) / len(points)))
        new = np.flatnonzero(inside[best] & uncovered)
        holds -= inside[:, new].sum(axis=1)
        holds[best] = 0
        uncovered[new] = False
    return balls
