import numpy as np

from labeling.strategies.cluster_margin import BETA, balanced, cluster_margin, weighted_kmeans
from labeling.strategies.pool import Pool

TORN, SURE = [0.5, 0.49, 0.01], [0.98, 0.01, 0.01]


def two_doubts(torn: int = 40, sure: int = 200) -> tuple[Pool, np.ndarray]:
    """Two groups of doubtful samples far apart, and many certain ones elsewhere."""
    rng = np.random.default_rng(0)
    where = np.repeat([0, 1, 2], [torn, torn, sure])
    points = rng.normal(0, 0.1, (len(where), 2)) + np.array([[0, 0], [9, 0], [0, 9]])[where]
    probs = np.array([TORN, TORN, SURE])[where]
    return Pool(probs=probs.astype(np.float32), embeddings=points.astype(np.float32)), where


def test_doubt_is_asked_about_once_in_every_place() -> None:
    pool, where = two_doubts()
    for strategy in (weighted_kmeans, cluster_margin):
        choice = strategy(pool, 2, np.random.default_rng(0))
        assert sorted(where[choice.rows]) == [0, 1], strategy.__name__


def test_what_the_model_is_sure_of_is_not_looked_at() -> None:
    pool, where = two_doubts(torn=BETA)
    choice = weighted_kmeans(pool, 2, np.random.default_rng(0))
    assert (where[choice.rows] < 2).all()


def test_a_larger_part_of_the_doubt_comes_first() -> None:
    rng = np.random.default_rng(0)
    where = np.repeat([0, 1], [10, 40])
    points = (rng.normal(0, 0.1, (50, 2)) + 9 * where[:, None]).astype(np.float32)
    pool = Pool(probs=np.tile(np.array(TORN, np.float32), (50, 1)), embeddings=points)
    choice = weighted_kmeans(pool, 2, np.random.default_rng(0))
    assert where[choice.rows].tolist() == [1, 0]
    assert choice.scores[0] > choice.scores[1]


def test_balanced_asks_more_about_a_class_that_few_labels_have() -> None:
    rng = np.random.default_rng(0)
    common, rare = [0.55, 0.45, 0.0], [0.0, 0.45, 0.55]
    is_rare = np.arange(400) % 10 == 0
    pool = Pool(
        probs=np.where(is_rare[:, None], rare, common).astype(np.float32),
        embeddings=rng.normal(size=(400, 4)).astype(np.float32),
        labelled=rng.normal(size=(30, 4)).astype(np.float32),
        labels=np.repeat([0, 1], 15),
    )
    plain = is_rare[weighted_kmeans(pool, 4, np.random.default_rng(0)).rows].sum()
    fair = is_rare[balanced(pool, 4, np.random.default_rng(0)).rows].sum()
    assert fair > plain
