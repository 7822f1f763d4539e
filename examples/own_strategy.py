"""A strategy of your own: uncertain rows, at most one from each region of the embedding space.

A strategy takes a pool, a size and a random generator, and returns rows with scores. Nothing here
needs a workspace or a model: `python examples/own_strategy.py`.
"""

import numpy as np
from sklearn.cluster import KMeans

from labeling.strategies import STRATEGIES, Pool, Strategy
from labeling.strategies.pool import Choice


def one_per_cluster(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The most uncertain row of each of `size` clusters, most uncertain first."""
    assert pool.probs is not None and pool.embeddings is not None
    rows = pool.free
    size = min(size, len(rows))
    entropy = -(pool.probs[rows] * np.log(pool.probs[rows] + 1e-12)).sum(axis=1)
    seed = int(rng.integers(2**31))
    cluster = KMeans(size, n_init=1, random_state=seed).fit_predict(pool.embeddings[rows])
    best = np.array([np.flatnonzero(cluster == k)[entropy[cluster == k].argmax()]
                     for k in np.unique(cluster)])  # fmt: skip
    best = best[np.argsort(-entropy[best])]
    return Choice(rows[best], entropy[best])


# In the project this is one more line of STRATEGIES; then `hone label --strategy one_per_cluster`.
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
