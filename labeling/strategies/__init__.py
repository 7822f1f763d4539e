"""STRATEGIES: every way to choose a batch, by name. They need numpy and nothing else.

A strategy looks at a `Pool` of arrays and gives the rows to ask, as a `Choice`:
`STRATEGIES["margin"].choose(Pool(probs=probs), 30, np.random.default_rng(0)).rows`.
A new one is a function and a line here, and a sentence in `labeling/batches/reasons.py`.
"""

from labeling.strategies.auto import auto
from labeling.strategies.badge import badge
from labeling.strategies.bait import bait, bait_by_class, rare_bait
from labeling.strategies.cluster_margin import balanced, cluster_margin, weighted_kmeans
from labeling.strategies.herding import max_herding, prob_cover, uncertainty_herding
from labeling.strategies.k_center import k_center
from labeling.strategies.lookahead import lookahead
from labeling.strategies.pool import Choice, Pool
from labeling.strategies.strategy import Strategy, at_random
from labeling.strategies.typiclust import typiclust
from labeling.strategies.uncertainty import bald, by_entropy, by_least_confidence, by_margin
from labeling.strategies.uncertainty_coverage import (
    coverage,
    rare_uncertainty_coverage,
    uncertainty_coverage,
)

STRATEGIES: dict[str, Strategy] = {
    "auto": Strategy(auto, needs=()),
    "random": Strategy(at_random, needs=()),
    "least_confidence": Strategy(by_least_confidence, needs=("probs",)),
    "margin": Strategy(by_margin, needs=("probs",)),
    "entropy": Strategy(by_entropy, needs=("probs",)),
    "bald": Strategy(bald, needs=("ensemble",)),
    "k_center": Strategy(k_center, needs=("embeddings",)),
    "typiclust": Strategy(typiclust, needs=("embeddings",)),
    "prob_cover": Strategy(prob_cover, needs=("embeddings",)),
    "coverage": Strategy(coverage, needs=("embeddings",)),
    "max_herding": Strategy(max_herding, needs=("embeddings",)),
    "badge": Strategy(badge, needs=("probs", "embeddings")),
    "cluster_margin": Strategy(cluster_margin, needs=("probs", "embeddings")),
    "weighted_kmeans": Strategy(weighted_kmeans, needs=("probs", "embeddings")),
    "uncertainty_herding": Strategy(uncertainty_herding, needs=("probs", "embeddings")),
    "balanced": Strategy(balanced, needs=("probs", "embeddings")),
    "uncertainty_coverage": Strategy(uncertainty_coverage, needs=("probs", "embeddings")),
    "bait": Strategy(bait, needs=("probs", "embeddings")),
    "rare_bait": Strategy(rare_bait, needs=("probs", "embeddings")),
    "lookahead": Strategy(lookahead, needs=("probs", "embeddings")),
    "bait_by_class": Strategy(bait_by_class, needs=("probs", "embeddings")),
    "rare_uncertainty_coverage": Strategy(rare_uncertainty_coverage, needs=("probs", "embeddings")),
}

__all__ = ["STRATEGIES", "Choice", "Pool", "Strategy"]
