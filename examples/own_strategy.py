"""A strategy of your own: uncertain rows, at most one from each region of the embedding space.

A strategy takes a pool, a size and a random generator, and returns rows with scores. Nothing here
needs a workspace or a model: `python examples/own_strategy.py`.
"""

import numpy as np

from labeling.strategies import STRATEGIES, Pool, Strategy
from labeling.strategies.kmeans import kmeans, nearest
from labeling.strategies.pool import Choice


def one_per_cluster(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The most uncertain row of each of `size` clusters, then the most uncertain of the rest."""
    assert pool.probs is not None and pool.embeddings is not None
    rows = pool.free
    size = min(size, len(rows))
    entropy = -(pool.probs[rows] * np.log(pool.probs[rows] + 1e-12)).sum(axis=1)
    if not size:
        return Choice(rows[:0], np.empty(0))
    points = np.asarray(pool.embeddings[rows], np.float32)
    cluster, _ = nearest(points, kmeans(points, size, rng))
    by_entropy = np.argsort(-entropy, kind="stable")
    _, first = np.unique(cluster[by_entropy], return_index=True)  # of each cluster
    best = by_entropy[np.sort(first)]
    rest = by_entropy[~np.isin(by_entropy, best)]  # copies make fewer clusters than asked for
    chosen = np.concatenate([best, rest])[:size]
    return Choice(rows[chosen], entropy[chosen])


# In the project this is one more line of STRATEGIES, and a sentence in WHY; then
# `hone label --strategy one_per_cluster`.
STRATEGIES["one_per_cluster"] = Strategy(one_per_cluster, needs=("probs", "embeddings"))


def main() -> None:
    """Ask each strategy for ten of 500 points in five blobs; count the blobs that it reaches."""
    rng = np.random.default_rng(0)
    blob = np.repeat(np.arange(5), [300, 100, 50, 30, 20])
    embeddings = (rng.normal(size=(5, 8))[blob] * 4 + rng.normal(size=(500, 8))).astype(np.float32)
    probs = rng.dirichlet([1, 1, 1], size=500)
    pool = Pool(probs=probs, embeddings=embeddings)
    for name in ("random", "entropy", "k_center", "one_per_cluster"):
        choice = STRATEGIES[name].choose(pool, 10, np.random.default_rng(1))
        print(f"{name:16} {len(set(blob[choice.rows]))} of 5 blobs, rows {choice.rows.tolist()}")


if __name__ == "__main__":
    main()
