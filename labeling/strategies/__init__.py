"""Every way to choose a batch, by name; a new one is a function and a line in `STRATEGIES`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labeling.strategies.auto import auto, rule
from labeling.strategies.badge import badge
from labeling.strategies.cluster_margin import balanced, cluster_margin, weighted_kmeans
from labeling.strategies.herding import max_herding, prob_cover, uncertainty_herding
from labeling.strategies.k_center import k_center
from labeling.strategies.pool import Choice, Pool
from labeling.strategies.typiclust import typiclust
from labeling.strategies.uncertainty import bald, by_entropy, by_least_confidence, by_margin
from labeling.strategies.uncertainty_coverage import rare_uncertainty_coverage, uncertainty_coverage


@dataclass(frozen=True)
class Strategy:
    """How a batch is chosen, and what of the pool it cannot do without."""

    choose: Callable[[Pool, int, np.random.Generator], Choice]
    needs: tuple[str, ...]  # names of Pool's arrays


def at_random(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """Each sample with the same chance."""
    rows = rng.permutation(pool.free)[:size]
    return Choice(rows, np.full(len(rows), np.nan))


STRATEGIES: dict[str, Strategy] = {
    "auto": Strategy(auto, needs=()),
    "random": Strategy(at_random, needs=()),
    "least_confidence": Strategy(by_least_confidence, needs=("probs",)),
    "margin": Strategy(by_margin, needs=("probs",)),
    "entropy": Strategy(by_entropy, needs=("probs",)),
    "bald": Strategy(bald, needs=("draws",)),
    "k_center": Strategy(k_center, needs=("embeddings",)),
    "typiclust": Strategy(typiclust, needs=("embeddings",)),
    "prob_cover": Strategy(prob_cover, needs=("embeddings",)),
    "max_herding": Strategy(max_herding, needs=("embeddings",)),
    "badge": Strategy(badge, needs=("probs", "embeddings")),
    "cluster_margin": Strategy(cluster_margin, needs=("probs", "embeddings")),
    "weighted_kmeans": Strategy(weighted_kmeans, needs=("probs", "embeddings")),
    "uncertainty_herding": Strategy(uncertainty_herding, needs=("probs", "embeddings")),
    "balanced": Strategy(balanced, needs=("probs", "embeddings")),
    "doubt_herding": Strategy(uncertainty_coverage, needs=("probs", "embeddings")),
    "rare_doubt_herding": Strategy(rare_uncertainty_coverage, needs=("probs", "embeddings")),
}
# Of one that lacks what it needs: the first that does not.
INSTEAD = ("margin", "typiclust", "random")


def usable(name: str, pool: Pool) -> tuple[str, str]:
    """The strategy that can be used on this pool in the place of `name`, and why, in words."""
    if name == "auto":
        found = rule(pool)
        return found.strategy, f"{found.strategy} ({found.regime}: {found.why})"
    lacking = _lacking(name, pool)
    if not lacking:
        return name, name
    other = next(instead for instead in INSTEAD if not _lacking(instead, pool))
    return other, f"{other}, because {name} needs {' and '.join(lacking)} and there are none"


def _lacking(name: str, pool: Pool) -> list[str]:
    return [part for part in STRATEGIES[name].needs if getattr(pool, part) is None]
