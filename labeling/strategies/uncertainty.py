"""Uncertainty alone: how little the model knows of each sample."""

from collections.abc import Callable

import numpy as np

from labeling.strategies.kmeans import blocks
from labeling.strategies.pool import Choice, Pool


def margin(probs: np.ndarray) -> np.ndarray:
    """How close the two best classes are: 1 is a tie, 0 a certain winner."""
    runner_up, best = np.partition(probs, -2, axis=1)[:, -2:].T
    return np.asarray(1 - (best - runner_up))


def entropy(probs: np.ndarray) -> np.ndarray:
    """How spread the probability is, in nats: log(classes) knows nothing, 0 is certain."""
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return np.asarray(-(probs * logs).sum(axis=-1))


def least_confidence(probs: np.ndarray) -> np.ndarray:
    """How much is missing to a certain best class: 0 is certain."""
    return np.asarray(1 - probs.max(axis=1))


def disagreement(ensemble: np.ndarray) -> np.ndarray:
    """What one would learn of the model itself (BALD): 0 where all members agree.

    `ensemble` is [members, n, classes]. The entropy of their mean less their mean entropy: a tie
    for every member is noise in the image and not worth a label.
    """
    scores = np.empty(ensemble.shape[1])
    for block in blocks(ensemble.shape[1], len(ensemble) * ensemble.shape[2]):
        members = np.asarray(ensemble[:, block], np.float64)
        scores[block] = entropy(members.mean(axis=0)) - entropy(members).mean(axis=0)
    return np.maximum(scores, 0)


def by_least_confidence(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """Those whose best class is least probable."""
    return _highest(least_confidence, pool.probs, pool, size, rng)


def by_margin(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """Those whose two best classes are closest."""
    return _highest(margin, pool.probs, pool, size, rng)


def by_entropy(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """Those whose probability is spread most."""
    return _highest(entropy, pool.probs, pool, size, rng)


def bald(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """Those on which members of the ensemble disagree most."""
    return _highest(disagreement, pool.ensemble, pool, size, rng)


def _highest(
    score: Callable[[np.ndarray], np.ndarray],
    predictions: np.ndarray | None,
    pool: Pool,
    size: int,
    rng: np.random.Generator,
) -> Choice:
    """The free rows of the highest scores; among equals the lot decides, not the name."""
    if predictions is None:
        raise ValueError(f"{score.__name__} was given nothing to score; see STRATEGIES for needs")
    scores, rows = score(predictions), pool.free
    size = min(size, len(rows))
    if 0 < size < len(rows):
        least = np.partition(scores[rows], -size)[-size]
        rows = rows[scores[rows] >= least]  # with all that tie for the last place
    lot = rng.permutation(rows)
    chosen = lot[np.argsort(-scores[lot], kind="stable")][:size]
    return Choice(chosen, scores[chosen].astype(np.float64))
