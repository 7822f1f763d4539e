import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.strategies.k_center import k_center
from labeling.strategies.pool import Pool

module = sys.modules["labeling.strategies.k_center"]  # the package has the function by this name


def naive(points: np.ndarray, centres: np.ndarray, size: int) -> list[int]:
    """The definition, in float64 and with every distance."""
    points, centres = points.astype(np.float64), centres.astype(np.float64)
    apart = np.array([((points - centre) ** 2).sum(axis=1) for centre in centres]).min(axis=0)
    chosen: list[int] = []
    for _ in range(size):
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        apart[chosen] = -1
    return chosen


def clustered(count: int, seed: int = 0, width: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middles = 3 * rng.normal(size=(12, width))
    points = middles[rng.integers(12, size=count)] + rng.normal(size=(count, width))
    return points.astype(np.float32)


def rows_of(points, size, seed=0, **known):
    choice = k_center(Pool(embeddings=points, **known), size, np.random.default_rng(seed))
    return choice.rows.tolist()


@pytest.mark.parametrize("known", [1, 63, 64, 65, 700])
@pytest.mark.parametrize("offset", [0, 100])
def test_the_order_is_that_of_the_definition(known, offset):
    points, labelled = clustered(3000) + offset, clustered(known, seed=1) + offset
    assert rows_of(points, 300, labelled=labelled) == naive(points, labelled, 300)


def test_points_without_any_structure_come_in_the_order_of_the_definition():
    points = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
    assert rows_of(points, 300, labelled=points[:5]) == naive(points, points[:5], 300)


def test_looking_at_few_rows_at_a_time_changes_nothing(monkeypatch):
    points = clustered(2000)
    whole = rows_of(points, 200, labelled=points[:100])
    for name, value in (("BLOCK", 16), ("CHUNK", 8), ("MOST", 40)):
        monkeypatch.setattr(module, name, value)
    assert rows_of(points, 200, labelled=points[:100]) == whole


def test_one_far_away_changes_nothing_for_the_others():
    points = clustered(1000)
    points[17] = 1e4
    assert rows_of(points, 100, labelled=points[:1]) == naive(points, points[:1], 100)


def test_without_labels_the_first_is_drawn_and_the_rest_follow():
    points = clustered(500)
    firsts = set()
    for seed in range(5):
        first, *rest = rows_of(points, 50, seed, labelled=points[:0])
        assert rest == naive(points, points[[first]], 49)
        firsts.add(first)
    assert len(firsts) > 1


@given(
    kinds=st.integers(1, 6), copies=st.integers(1, 5), asked=st.integers(0, 40), known=st.booleans()
)
def test_copies_come_last_and_equals_in_their_order(kinds, copies, asked, known):
    rng = np.random.default_rng(kinds)
    points = np.repeat(rng.normal(size=(kinds, 3)).astype(np.float32), copies, axis=0)
    points = points[rng.permutation(len(points))]
    chosen = rows_of(points, asked, labelled=points[:1] if known else None)
    size = min(asked, len(points))
    if known:
        assert chosen == naive(points, points[:1], size)
    assert len(set(chosen)) == size
    first = len(np.unique(points, axis=0)) - known
    assert len(np.unique(points[chosen[:first]], axis=0)) == min(first, size)


def test_of_a_tie_wider_than_the_memory_the_first_rows_are_chosen(monkeypatch):
    monkeypatch.setattr(module, "MOST", 20)
    points = np.tile(np.eye(8, dtype=np.float32), (30, 1))
    assert rows_of(points, 12, labelled=points[:1]) == [1, 2, 3, 4, 5, 6, 7, 0, 8, 9, 10, 11]


@pytest.mark.parametrize("value", [0, 1, -1e6])
def test_of_nothing_but_copies_each_is_chosen_once(value):
    points = np.full((50, 4), value, dtype=np.float32)
    assert rows_of(points, 60, labelled=points[:1]) == list(range(50))


@given(seed=st.integers(0, 100), asked=st.integers(0, 60))
def test_only_allowed_rows_are_chosen_each_once_and_as_many_as_there_are(seed, asked):
    rng = np.random.default_rng(seed)
    allowed = rng.random(60) < 0.5
    chosen = rows_of(clustered(60), asked, allowed=allowed)
    assert len(set(chosen)) == len(chosen) == min(asked, allowed.sum())
    assert allowed[chosen].all()


def test_scores_are_the_distances_at_which_each_was_chosen():
    points = np.array([[0], [1], [10], [4]], dtype=np.float32)
    choice = k_center(Pool(embeddings=points, labelled=points[:1]), 4, np.random.default_rng(0))
    assert choice.rows.tolist() == [2, 3, 1, 0]
    np.testing.assert_allclose(choice.scores, [10, 4, 1, 0], atol=1e-4)


@pytest.mark.parametrize("known", [0, 3])
def test_scores_do_not_rise(known):
    points = clustered(800)
    pool = Pool(embeddings=points, labelled=points[:known])
    scores = k_center(pool, 800, np.random.default_rng(0)).scores
    assert (np.diff(scores) <= 1e-3).all()
    assert np.isfinite(scores).all()


def test_a_read_only_file_is_enough_and_stays_as_it_is(tmp_path):
    points = clustered(300)
    np.save(tmp_path / "points.npy", points)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    assert rows_of(mapped, 30, seed=4) == rows_of(points, 30, seed=4)
    np.testing.assert_array_equal(points, clustered(300))


def test_without_embeddings_it_says_so():
    with pytest.raises(ValueError, match="no embeddings"):
        k_center(Pool(probs=np.full((3, 2), 0.5)), 1, np.random.default_rng(0))
