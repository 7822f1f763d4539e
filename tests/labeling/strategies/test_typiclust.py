import numpy as np

from labeling.strategies.pool import Pool
from labeling.strategies.typiclust import typiclust


def islands(*sizes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points around places far from each other, and the number of each one's place."""
    rng = np.random.default_rng(seed)
    where = np.repeat(np.arange(len(sizes)), sizes)
    points = (
        rng.normal(0, 0.2, (len(where), 3)) + 10 * np.eye(3)[where % 3] * (1 + where // 3)[:, None]
    )
    return points.astype(np.float32), where


def test_every_island_is_asked_about_once_before_any_is_twice() -> None:
    points, where = islands(60, 40, 30, 50, 20)
    choice = typiclust(Pool(embeddings=points), 5, np.random.default_rng(0))
    assert sorted(where[choice.rows]) == [0, 1, 2, 3, 4]


def test_an_island_with_a_label_waits() -> None:
    points, where = islands(60, 40, 30)
    pool = Pool(embeddings=points, labelled=points[:1], labels=np.array([0]))
    choice = typiclust(pool, 2, np.random.default_rng(0))
    assert sorted(where[choice.rows]) == [1, 2]


def test_the_typical_stands_for_its_island_and_not_an_outlier() -> None:
    points, _ = islands(60)
    points = np.concatenate([points, points[:1] + 3]).astype(np.float32)
    choice = typiclust(Pool(embeddings=points), 1, np.random.default_rng(0))
    middle = np.linalg.norm(points[:60] - points[:60].mean(axis=0), axis=1)
    assert choice.rows[0] != 60
    assert middle[choice.rows[0]] < np.quantile(middle, 0.25)
