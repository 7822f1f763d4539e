"""Lookahead: the samples after whose labels the pool's expected error is least.

A ridge head is trained on the labels there are. Of a candidate and each of its likely classes the
head with that label too is known without training it: by Sherman and Morrison the output for x
moves by x' M c / (1 + c' M c) times what the candidate c is off by, with M the inverse that the
head was solved by. The error is what the head itself expects (Roy and McCallum 2001): one less the
sum of its squared probabilities, over samples of the pool and over the candidate's classes.

Both the ridge and how sure outputs make the head are those at which every label is predicted best
by a head that never had it; that, too, is known without training another.
"""

from dataclasses import dataclass

import numpy as np

from labeling.strategies.design import Design, Scale
from labeling.strategies.kmeans import blocks
from labeling.strategies.pool import Choice, Pool

RIDGES = (0.1, 1.0, 10.0)  # where embeddings have the mean square length one
SHARPNESS = (1, 2, 4, 8, 16, 32, 64)  # times the outputs, before the softmax
FEW_LABELS = 5  # with fewer none is held out: the variance alone decides, with the ridge PLAIN
PLAIN = 1.0
LIKELY = 3  # classes of a candidate that are tried
CANDIDATES = 2_000  # drawn from a larger pool; two for each place of a larger batch
CELLS = 30_000_000  # outputs that are computed: they say how many samples the error is the mean of
LEAST_TARGETS, MOST_TARGETS = 50, 1_000


def lookahead(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The samples whose labels lower the expected error most; the score is by how much.

    The first is exact among the candidates. For the next, the gain of each is lowered by the share
    that those before it take of what its label tells: also exact, since that needs no labels.
    """
    if pool.embeddings is None or pool.probs is None:
        raise ValueError("lookahead needs probabilities and embeddings and the pool lacks some")
    free, classes = pool.free, pool.probs.shape[1]
    size = min(size, len(free))
    if size < 1:
        return Choice(free[:0], np.empty(0))
    rows = np.sort(rng.permutation(free)[: max(CANDIDATES, 2 * size)])
    count = CELLS // (len(rows) * min(LIKELY, classes) * classes)
    others = np.sort(rng.permutation(free)[: min(max(count, LEAST_TARGETS), MOST_TARGETS)])
    scale = Scale.of(pool.embeddings[others])
    candidates, targets = (scale.points(pool.embeddings[at]) for at in (rows, others))
    labelled = scale.points(pool.embeddings[:0] if pool.labelled is None else pool.labelled)
    labels = np.full(len(labelled), -1) if pool.labels is None else pool.labels
    head = trained(labelled[labels >= 0], labels[labels >= 0], classes)
    wanted = (targets.T @ targets / len(targets))[None]
    known = labelled.T @ labelled + (head.ridge if head else PLAIN) * np.eye(labelled.shape[1])
    worth = None if head is None else _gains(head, candidates, targets, wanted[0])
    design = Design(candidates, np.ones((1, len(rows))), known[None], wanted, worth)
    picks, gains = design.choose(size)
    return Choice(rows[picks], gains * (design.variance if head else 1))


def _gains(
    head: "Ridge", candidates: np.ndarray, targets: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """By how much a label lowers the expected error, over how much it lowers the variance."""
    moved = candidates @ head.inverse
    lowered = np.einsum("ij,jk,ik->i", moved, wanted, moved, optimize=True)
    lowered /= 1 + np.einsum("ij,ij->i", moved, candidates)
    gains = head.error(targets) - errors_after(head, candidates, targets)
    return np.asarray(np.maximum(gains, 0) / np.maximum(lowered, 1e-12))


@dataclass(frozen=True)
class Ridge:
    """A ridge head on some labels, and the inverse by which another label would change it."""

    ridge: float
    inverse: np.ndarray  # [width, width]
    weights: np.ndarray  # [width, classes]
    sharpness: float

    def probs(self, outputs: np.ndarray) -> np.ndarray:
        """The softmax of these outputs [..., classes], made sharp."""
        powers = np.exp(self.sharpness * (outputs - outputs.max(axis=-1, keepdims=True)))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    def error(self, points: np.ndarray) -> float:
        """The error that it expects of itself on these."""
        return float(_error(self.probs(points @ self.weights)).mean())


def _error(probs: np.ndarray) -> np.ndarray:
    return np.asarray(1 - np.einsum("...k,...k->...", probs, probs))


def trained(points: np.ndarray, labels: np.ndarray, classes: int) -> Ridge | None:
    """The head by which each label is likeliest when it is held out; None with too few labels."""
    if len(labels) < FEW_LABELS:
        return None
    truth = np.eye(classes)[labels] - 1 / classes
    square, sums = (points.T @ points).astype(np.float64), points.T @ truth
    best: Ridge | None = None
    likelihood = -np.inf
    for ridge in RIDGES:
        inverse = np.linalg.inv(square + ridge * np.eye(len(square)))
        weights = inverse @ sums
        leverage = np.einsum("ij,ij->i", points @ inverse, points)[:, None]
        held_out = (points @ weights - leverage * truth) / (1 - leverage)
        for sharpness in SHARPNESS:
            head = Ridge(ridge, inverse, weights, sharpness)
            right = head.probs(held_out)[np.arange(len(labels)), labels]
            logs = float(np.log(np.maximum(right, 1e-9)).mean())
            if logs > likelihood:
                best, likelihood = head, logs
    return best


def errors_after(head: Ridge, candidates: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The error [n] that the head is expected to expect on the targets once one is labelled."""
    outputs = (targets @ head.weights).astype(np.float32)
    own = (candidates @ head.weights).astype(np.float32)
    classes = own.shape[1]
    moved = candidates @ head.inverse
    share = (moved @ targets.T) / (1 + np.einsum("ij,ij->i", moved, candidates))[:, None]
    share = share.astype(np.float32)
    chances = head.probs(own)
    likely = np.argsort(-chances, axis=1)[:, :LIKELY]
    chances = np.take_along_axis(chances, likely, axis=1)
    chances /= chances.sum(axis=1, keepdims=True)
    errors = np.zeros(len(candidates))
    for block in blocks(len(candidates), outputs.size):
        for place in range(likely.shape[1]):
            truth = np.eye(classes, dtype=np.float32)[likely[block, place]] - np.float32(
                1 / classes
            )
            after = outputs + share[block, :, None] * (truth - own[block])[:, None]
            errors[block] += chances[block, place] * _error(head.probs(after)).mean(axis=1)
    return errors
