"""The strategy for the moment: no single one wins everywhere, so a rule looks first.

What is looked at is known before anyone answers: how many labels there are, how many samples have
a near copy in the pool, and how unevenly the classes are predicted. `rule` says what was seen and
what follows; benchmarks/label_efficiency.py says why: the rule was made on its development runs,
and what is reported comes from other test images and other seeds.

Found there, with self-supervised features of CIFAR-10 and a linear head: with few labels and among
copies only herding by doubt beat chance clearly, k-means over doubt lost to chance among copies,
and from some 100 labels a class on it was the other way round, by little (a switch there is worth a
tenth of a label ratio over one at 20, or none: three sets of development runs); in a long tail it
paid to weigh doubt by rarity. With better features all gain more.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labeling.strategies.cluster_margin import weighted_kmeans
from labeling.strategies.herding import max_herding
from labeling.strategies.kmeans import blocks, squared_distances
from labeling.strategies.pool import Choice, Pool
from labeling.strategies.uncertainty import by_margin
from labeling.strategies.uncertainty_coverage import rare_uncertainty_coverage, uncertainty_coverage

MANY = 100  # labels a class from which on doubt is to be trusted more than likeness
ENOUGH = 5  # labels a class before which predictions say nothing of how common classes are
EVEN = 0.75  # effective share of the classes below which they are uneven; 1 is all alike
COPIED = 0.1  # share of samples with a near copy from which on the pool is redundant
NEAR = 0.15  # of the median distance: two samples that are closer are copies
LOOKED_AT = 256  # samples whose copies are sought
AMONG = 50_000  # samples among which they are sought


@dataclass(frozen=True)
class Rule:
    """Which strategy, in which regime, and what was seen that says so, in one sentence."""

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
            "max_herding", "cold", "there are no predictions yet: what stands for most is asked"
        )
    copied = copied_share(pool.embeddings, pool.free)
    even = evenness(pool)
    classes = pool.probs.shape[1]
    seen = f"{labels} labels for {classes} classes"
    if labels >= ENOUGH * classes and even < EVEN:
        return Rule(
            "rare_uncertainty_coverage", "long tail",
            f"{seen}, and predictions are as uneven as if there were {even * classes:.1f}: "
            "doubt counts more where a class is rare",
        )  # fmt: skip
    if copied >= COPIED:
        return Rule(
            "uncertainty_coverage", "redundant",
            f"{copied:.0%} of the samples have a near copy: doubt is spread, and a copy adds none",
        )  # fmt: skip
    if labels < MANY * classes:
        return Rule(
            "uncertainty_coverage", "few labels", f"{seen}: doubt counts where it stands for much"
        )
    return Rule("weighted_kmeans", "many labels", f"{seen}: doubt is to be trusted, and spread")


def _without_embeddings(pool: Pool) -> Rule:
    if pool.probs is None:
        return Rule("random", "blind", "there are no predictions and no embeddings: chance decides")
    return Rule("margin", "unseen", "there are no embeddings: doubt alone decides, not likeness")


def evenness(pool: Pool) -> float:
    """The effective number of predicted classes over that of classes: 1 where all are as common."""
    if pool.probs is None or not len(pool.free):
        return 1.0
    shares = pool.probs[pool.free].mean(axis=0, dtype=np.float64)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum()
    return float(np.exp(entropy) / len(shares))


def copied_share(embeddings: np.ndarray, rows: np.ndarray) -> float:
    """The share of some of these rows that have another so close that it must be nearly the same.

    Rows are taken evenly, without chance; among more than `AMONG` some copies go unseen.
    """
    if len(rows) < 2:
        return 0.0
    among = rows[:: -(-len(rows) // AMONG)]
    some = among[:: -(-len(among) // LOOKED_AT)]
    asked = np.asarray(embeddings[some], np.float32)
    typical = float(np.median(squared_distances(asked, asked)[np.triu_indices(len(some), 1)]))
    return float((_to_nearest_other(asked, some, embeddings, among) <= NEAR**2 * typical).mean())


def _to_nearest_other(
    asked: np.ndarray, some: np.ndarray, embeddings: np.ndarray, among: np.ndarray
) -> np.ndarray:
    """The squared distance of each asked row to the nearest other row."""
    least = np.full(len(asked), np.inf)
    for block in blocks(len(among), embeddings.shape[1]):
        rows = among[block]
        apart = squared_distances(asked, np.asarray(embeddings[rows], np.float32))
        apart[some[:, None] == rows] = np.inf
        least = np.minimum(least, apart.min(axis=1))
    return least


def _at_random(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    rows = rng.permutation(pool.free)[:size]
    return Choice(rows, np.full(len(rows), np.nan))


_CHOICES: dict[str, Callable[[Pool, int, np.random.Generator], Choice]] = {
    "uncertainty_coverage": uncertainty_coverage,
    "margin": by_margin,
    "max_herding": max_herding,
    "random": _at_random,
    "rare_uncertainty_coverage": rare_uncertainty_coverage,
    "weighted_kmeans": weighted_kmeans,
}
