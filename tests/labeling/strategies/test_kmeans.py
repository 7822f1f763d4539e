import numpy as np
import pytest

from labeling.strategies.kmeans import blocks, kmeans, main_space, nearest, squared_distances


def groups(*centres: tuple[float, float], each: int = 50, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.normal(centre, 0.1, (each, 2)) for centre in centres], dtype=np.float32
    )


def test_distances_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    points, centres = rng.normal(size=(70, 5)), rng.normal(size=(7, 5))
    plain = ((points[:, None] - centres[None]) ** 2).sum(axis=2)
    assert np.allclose(squared_distances(points, centres), plain)
    which, apart = nearest(points.astype(np.float32), centres.astype(np.float32))
    assert which.tolist() == plain.argmin(axis=1).tolist()
    assert np.allclose(apart, plain.min(axis=1), atol=1e-4)


def test_every_group_gets_a_centre() -> None:
    points = groups((0, 0), (5, 0), (0, 5))
    centres = kmeans(points, 3, np.random.default_rng(0))
    assert sorted(np.round(centres, 0).tolist()) == [[0, 0], [0, 5], [5, 0]]


def test_weight_draws_a_centre() -> None:
    points = np.array([[0.0, 0], [1, 0]] * 30, dtype=np.float32)
    weights = np.array([9.0, 1.0] * 30)
    centre = kmeans(points, 1, np.random.default_rng(0), weights)
    assert np.allclose(centre, [[0.1, 0]], atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_copies_of_one_point_are_no_error(count: int) -> None:
    centres = kmeans(np.ones((20, 4), np.float32), count, np.random.default_rng(0))
    assert np.allclose(centres, 1)


def test_the_main_directions_keep_distances_and_come_from_a_read_only_array() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(300, 12)).astype(np.float32)
    embeddings.flags.writeable = False
    points = main_space(embeddings, np.arange(300), rng).of(embeddings)
    apart = squared_distances(points[:50], points[:50])
    assert np.allclose(apart, squared_distances(embeddings[:50], embeddings[:50]), atol=1e-3)


def test_blocks_cover_every_row_once() -> None:
    rows = np.arange(200_001)
    assert np.concatenate([rows[block] for block in blocks(len(rows), 100)]).tolist() == [*rows]
