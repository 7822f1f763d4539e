"""What each of several proposed batches would teach, as far as the labels of this workspace tell.

Nobody knows the labels that a batch will bring, but the labels so far say what is plausible. Three
Gaussian processes describe how classes may depend on the embeddings: by directions (`linear`), by
wide and by narrow neighbourhoods. Each is judged by the likelihood it gives to every label when
that label is left out, and counts by it. From each, labelings of a sample of the pool are drawn
that agree with the labels so far. A batch is worth what a linear head would be less wrong on the
sample after it learnt the batch's labels, on average over the labelings; every class counts alike.

All proposals are judged by the same labelings, so what is left of chance hits all alike. The work
does not grow with the pool: a sample of it is looked at, and the first places of each proposal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labeling.strategies.kmeans import squared_distances
from labeling.strategies.pool import Pool

TARGETS = 400  # rows of the pool on which the head is judged
JUDGED = 40  # first places of a proposal: fewer differ by chance
LABELS = 600  # labels that the labelings agree with
LEFT_OUT = 300  # labels that are left out in turn to judge the processes
LABELINGS = 1_000  # drawn of each process, over the number of classes: 4 at least, 100 at most
JITTER = 1e-4  # of the variance: without it rounding may leave no root of a covariance
RIDGE = 1.0  # of the head, where embeddings have the mean square length one
NOISES = (0.1, 0.3, 1.0, 3.0)  # variance of a label over that which the embeddings explain
WIDTHS = {"wide": 1.0, "narrow": 0.25}  # variances of the kernels over the median squared distance
SOFTNESS = 0.1  # of an error, in the difference of one-hot predictions
TRUST = 10.0  # labels that differences of the mean likelihood count for: more would name one winner
LEAST_WEIGHT = 0.05  # of a process that is worth drawing from
LEAST_SHARE = 0.2  # of a class's even share: a class that is hardly expected cannot count for more


@dataclass(frozen=True)
class Evidence:
    """How much less wrong a head would be after each proposal, and what that rests on."""

    gains: dict[str, float]  # by which the share of errors falls, each class counted alike
    doubts: dict[str, float]  # the standard error of each gain's distance to the largest
    processes: dict[str, float]  # how much each counts; they sum to one


def weigh(pool: Pool, proposals: Mapping[str, np.ndarray], rng: np.random.Generator) -> Evidence:
    """Judge proposals, rows of the pool in the order to ask; needs predictions and labels."""
    if pool.probs is None or pool.embeddings is None or not len(_known(pool)):
        raise ValueError("proposals are weighed by predictions, embeddings and labels: one is None")
    parts = [rows[:JUDGED] for rows in proposals.values()]
    targets = rng.permutation(pool.free)[:TARGETS]
    rows, places = np.unique(np.concatenate([targets, *parts]), return_inverse=True)
    at, *batches = np.split(places, np.cumsum([len(targets), *(len(part) for part in parts)])[:-1])
    points = np.asarray(pool.embeddings[rows], np.float32)
    share = pool.probs[targets].mean(axis=0)
    worth = 1 / np.maximum(share, LEAST_SHARE / len(share))
    world = _World(pool, points, rng)
    head = _Head(world, worth / (worth * share).sum(), at, [at[:0], *batches])
    gains, errors = np.zeros(len(batches)), np.zeros((len(batches), len(batches)))
    for name, weight in world.weights.items():
        labels = world.draw(name, int(np.clip(LABELINGS // len(share), 4, 100)), rng)
        losses = head.losses(labels)
        each = losses[0] - losses[1:]
        gains += weight * each.mean(axis=1)
        errors += weight**2 * (each[:, None] - each).var(axis=-1) / each.shape[1]
    doubts = np.sqrt(errors[gains.argmax()])
    return Evidence(
        dict(zip(proposals, gains.tolist(), strict=True)),
        dict(zip(proposals, doubts.tolist(), strict=True)),
        world.weights,
    )


def _known(pool: Pool) -> np.ndarray:
    """The labelled rows whose class is known."""
    if pool.labels is None or pool.labelled is None or pool.probs is None:
        return np.empty(0, np.int64)
    return np.flatnonzero((pool.labels >= 0) & (pool.labels < pool.probs.shape[1]))


class _World:
    """The processes, fitted to the labels so far: which counts how much, and what it holds likely.

    All classes of a process have one covariance; their means differ.
    """

    def __init__(self, pool: Pool, points: np.ndarray, rng: np.random.Generator) -> None:
        assert pool.probs is not None and pool.labels is not None and pool.labelled is not None
        known = rng.permutation(_known(pool))[:LABELS]
        labelled = np.asarray(pool.labelled[known], np.float32)
        mean = points.mean(axis=0)
        both = np.concatenate([labelled, points]) - mean
        both /= max(float(np.sqrt((both**2).sum(axis=1).mean())), 1e-12)
        self.labelled, self.points = both[: len(labelled)], both[len(labelled) :]
        classes = pool.probs.shape[1]
        truth = np.eye(classes, dtype=np.float32)[pool.labels[known]]
        self.share = (truth.sum(axis=0) + 1) / (len(truth) + classes)
        self.truth = truth - self.share
        apart = squared_distances(both, both)
        typical = max(float(np.median(apart[len(labelled) :, len(labelled) :])), 1e-12)
        self.kernels = {"linear": both @ both.T}
        for name, width in WIDTHS.items():
            self.kernels[name] = np.exp(-apart / (2 * width * typical))
        self.judged = {name: self._judge(kernel) for name, kernel in self.kernels.items()}
        self.weights = _weights({name: best[0] for name, best in self.judged.items()})

    def _judge(self, kernel: np.ndarray) -> tuple[float, float, float]:
        """The mean log-likelihood of labels left out, at the best noise; the noise and scale."""
        truth = self.truth[:LEFT_OUT]
        values, vectors = np.linalg.eigh(kernel[: len(truth), : len(truth)].astype(np.float64))
        fitted = []
        for noise in NOISES:
            inverse = (vectors / (np.maximum(values, 0) + noise)) @ vectors.T
            solved, own = inverse @ truth, np.diag(inverse)[:, None]
            scale = max(float((truth * solved).sum()) / truth.size, 1e-6)
            each = -0.5 * (np.log(scale / own) + (solved / own) ** 2 / (scale / own))
            fitted.append((float(each.sum(axis=1).mean()), noise, scale))
        return max(fitted)

    def fit(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The means [rows, classes] and the covariance [rows, rows] of the points."""
        kernel, noise, count = self.kernels[name], self.judged[name][1], len(self.truth)
        square = kernel[:count, :count] + noise * np.eye(count, dtype=np.float32)
        across = kernel[count:, :count]
        solved = np.linalg.solve(square, np.hstack([self.truth, across.T]))
        classes = self.truth.shape[1]
        covariance = kernel[count:, count:] - across @ solved[:, classes:]
        return self.share + across @ solved[:, :classes], self.judged[name][2] * covariance

    def draw(self, name: str, count: int, rng: np.random.Generator) -> np.ndarray:
        """Labelings of the points [count, rows] that agree with the labels."""
        mean, covariance = self.fit(name)
        size = self.judged[name][2] * float(np.diag(self.kernels[name]).mean())
        covariance = covariance.astype(np.float64) + max(JITTER * size, 1e-9) * np.eye(len(mean))
        root = np.linalg.cholesky(covariance)
        lots = rng.standard_normal((len(mean), count * mean.shape[1]), dtype=np.float32)
        drawn = (root.astype(np.float32) @ lots).reshape(len(mean), count, -1) + mean[:, None]
        return np.asarray(drawn.argmax(axis=-1).T)


class _Head:
    """A linear head by least squares: what more labels do to it is known in one step, exactly."""

    def __init__(
        self, world: _World, worth: np.ndarray, at: np.ndarray, batches: Sequence[np.ndarray]
    ) -> None:
        self.worth, self.at, self.batches = worth.astype(np.float32), at, batches
        square = world.labelled.T @ world.labelled
        square += RIDGE * np.eye(len(square), dtype=np.float32)
        weights = np.linalg.solve(square, world.labelled.T @ world.truth)
        self.values = (world.share + world.points @ weights).astype(np.float32)
        self.reach = []  # how much the error at each row of a batch moves the value at each target
        for batch in batches:
            points = world.points[batch]
            moved = np.linalg.solve(square + points.T @ points, points.T)
            self.reach.append(world.points[at] @ moved)

    def losses(self, labels: np.ndarray) -> np.ndarray:
        """The loss at the targets once a batch has its labels [batches, labelings].

        Half an error where two classes are even: it moves before a target changes sides.
        """
        truth = np.eye(self.values.shape[1], dtype=np.float32)[labels]
        right = labels[:, self.at]
        losses = []
        for batch, reach in zip(self.batches, self.reach, strict=True):
            values = self.values[self.at] + reach @ (truth[:, batch] - self.values[batch])
            ahead = np.take_along_axis(values, right[..., None], -1)[..., 0]
            np.put_along_axis(values, right[..., None], -np.inf, -1)
            wrong = 1 / (1 + np.exp((ahead - values.max(axis=-1)) / SOFTNESS))
            losses.append((wrong * self.worth[right]).mean(axis=1))
        return np.array(losses)


def _weights(likelihoods: Mapping[str, float]) -> dict[str, float]:
    """Shares by likelihood, without those that hardly count."""
    best = max(likelihoods.values())
    raw = {name: float(np.exp(TRUST * (value - best))) for name, value in likelihoods.items()}
    shared = {
        name: value for name, value in raw.items() if value >= LEAST_WEIGHT * sum(raw.values())
    }
    return {name: value / sum(shared.values()) for name, value in shared.items()}
