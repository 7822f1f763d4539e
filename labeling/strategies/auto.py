"""`auto`: a rule looks at the pool and names the strategy, because none is best everywhere.

The rule uses what is known before anyone answers: how many labels there are, how many samples have
a near copy in the pool, and how unevenly the classes are predicted. It was made on development runs
of benchmarks/label_efficiency.py; what is reported comes from other test images and other seeds.

With self-supervised features of CIFAR-10 and a linear head: with few labels and among copies only
herding weighted by uncertainty clearly beat random choice, and k-means weighted by uncertainty was
worse than random among copies. From some 100 labels a class on it was the other way round, by
little (a switch there is worth a tenth of a label ratio over one at 20, or over none: three sets of
development runs). In a long tail it paid to weigh uncertainty by rarity. With better features every
strategy gains more.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labeling.strategies.cluster_margin import weighted_kmeans
from labeling.strategies.herding import max_herding
from labeling.strategies.kmeans import blocks, squared_distances
from labeling.strategies.pool import Choice, Pool
from labeling.strategies.strategy import at_random
from labeling.strategies.uncertainty import by_margin
from labeling.strategies.uncertainty_coverage import rare_uncertainty_coverage, uncertainty_coverage

MANY_LABELS = 100  # a class; from then on uncertainty is a better guide than similarity
ENOUGH_LABELS = 5  # a class; with fewer, predictions do not show how common classes are
MIN_EVENNESS = 0.75  # effective share of the classes; below, they count as uneven
REDUNDANT = 0.1  # share of samples with a near copy from which on the pool counts as redundant
COPY_DISTANCE = 0.15  # of the median distance: two samples that are closer are copies
PROBES = 256  # samples whose copies are searched
SEARCHED = 50_000  # samples among which they are searched


@dataclass(frozen=True)
class Rule:
    """Which strategy, in which regime, and the measured reason in one sentence."""

    strategy: str
    regime: str
    why: str


def auto(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The batch of the strategy that `rule` names."""
    return _CHOICES[rule(pool).strategy](pool, size, rng)


def rule(pool: Pool) -> Rule:
    """What to do with this pool; the same pool, the same rule."""
    if pool.embeddings is None:
        return _without_embeddings(pool)
    labels = 0 if pool.labels is None else int((pool.labels >= 0).sum())
    if pool.probs is None:
        return Rule(
            "max_herding",
            "cold",
            "no predictions yet: images that represent most others are chosen",
        )
    copied = copied_share(pool.embeddings, pool.free)
    even = evenness(pool)
    classes = pool.probs.shape[1]
    known = f"{labels} labels for {classes} classes"
    if labels >= ENOUGH_LABELS * classes and even < MIN_EVENNESS:
        return Rule(
            "rare_uncertainty_coverage", "long tail",
            f"{known}, and predictions are as uneven as if there were {even * classes:.1f}: "
            "uncertainty counts more where a class is rare",
        )  # fmt: skip
    if copied >= REDUNDANT:
        return Rule(
            "uncertainty_coverage", "redundant",
            f"{copied:.0%} of the samples have a near copy: uncertain images are chosen, copies of "
            "chosen ones are not",
        )  # fmt: skip
    if labels < MANY_LABELS * classes:
        return Rule(
            "uncertainty_coverage", "few labels",
            f"{known}: uncertain images that represent many others are chosen",
        )  # fmt: skip
    return Rule(
        "weighted_kmeans", "many labels",
        f"{known}: uncertain images are chosen, spread over groups of similar ones",
    )  # fmt: skip


def _without_embeddings(pool: Pool) -> Rule:
    if pool.probs is None:
        return Rule("random", "nothing known", "no predictions, no embeddings: drawn at random")
    return Rule(
        "margin", "no embeddings", "only predictions are known: the least certain are chosen"
    )


def evenness(pool: Pool) -> float:
    """The effective number of predicted classes over that of classes; 1 if all are as common."""
    if pool.probs is None or not len(pool.free):
        return 1.0
    shares = pool.probs[pool.free].mean(axis=0, dtype=np.float64)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum()
    return float(np.exp(entropy) / len(shares))


def copied_share(embeddings: np.ndarray, rows: np.ndarray) -> float:
    """The share of these rows that have another one so close that it must be nearly the same.

    Estimated on up to `PROBES` evenly spaced rows among up to `SEARCHED` others, without chance.
    """
    if len(rows) < 2:
        return 0.0
    searched = rows[:: -(-len(rows) // SEARCHED)]
    probes = searched[:: -(-len(searched) // PROBES)]
    points = np.asarray(embeddings[probes], np.float32)
    typical = float(np.median(squared_distances(points, points)[np.triu_indices(len(probes), 1)]))
    apart = _to_nearest_other(points, probes, embeddings, searched)
    return float((apart <= COPY_DISTANCE**2 * typical).mean())


def _to_nearest_other(
    points: np.ndarray, probes: np.ndarray, embeddings: np.ndarray, searched: np.ndarray
) -> np.ndarray:
    """The squared distance of each probe to the nearest other row."""
    least = np.full(len(points), np.inf)
    for block in blocks(len(searched), embeddings.shape[1]):
        rows = searched[block]
        apart = squared_distances(points, np.asarray(embeddings[rows], np.float32))
        apart[probes[:, None] == rows] = np.inf
        least = np.minimum(least, apart.min(axis=1))
    return least


_CHOICES: dict[str, Callable[[Pool, int, np.random.Generator], Choice]] = {
    "uncertainty_coverage": uncertainty_coverage,
    "margin": by_margin,
    "max_herding": max_herding,
    "random": at_random,
    "rare_uncertainty_coverage": rare_uncertainty_coverage,
    "weighted_kmeans": weighted_kmeans,
}
