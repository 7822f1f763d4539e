import numpy as np
import pytest

from labeling.batches.most_similar import nearest, nearest_by_features


def looks(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (count, 256)).astype(np.uint8)


def test_a_brighter_noisy_copy_is_nearest_to_its_original():
    known = looks(700)
    rng = np.random.default_rng(1)
    asked = [5, 699, 0, 321]
    copies = (known[asked] * 1.1 + rng.normal(8, 4, (4, 256))).clip(0, 255).astype(np.uint8)
    found = nearest([row.tobytes() for row in copies], [row.tobytes() for row in known])
    assert found.tolist() == asked


def test_a_flat_image_is_like_any_and_breaks_nothing():
    known = [row.tobytes() for row in looks(3)]
    assert nearest([bytes(256)], known).tolist() == [0]


def test_more_than_one_block_is_one_answer():
    known = looks(10)
    many = [known[n % 10].tobytes() for n in range(1200)]
    assert nearest(many, [row.tobytes() for row in known]).tolist() == [n % 10 for n in range(1200)]


def test_without_known_looks_there_is_no_neighbour():
    with pytest.raises(ValueError, match="0 known ones"):
        nearest([bytes(256)], [])


def test_by_features_the_direction_counts_and_the_length_does_not():
    known = np.array([[1, 0], [0, 5], [-1, 1]], np.float32)
    rows = np.array([[0, 0.1], [9, 1], [-3, 2]], np.float32)
    assert nearest_by_features(rows, known).tolist() == [1, 0, 2]
    with pytest.raises(ValueError, match="0 images and 3 known"):
        nearest_by_features(rows[:0], known)
