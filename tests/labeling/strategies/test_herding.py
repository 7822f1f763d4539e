from dataclasses import replace

import numpy as np
import pytest

from labeling.strategies import herding
from labeling.strategies.herding import (
    calibrated_uncertainty,
    max_herding,
    prob_cover,
    uncertainty_herding,
)
from labeling.strategies.pool import Pool
from tests.labeling.strategies.test_typiclust import islands


def naive_herd(points: np.ndarray, size: int, width: float) -> list[int]:
    """The definition: every gain computed anew for every pick."""
    near = np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=2) / (2 * width**2))
    covered = np.zeros(len(points))
    picks: list[int] = []
    for _ in range(size):
        gains = np.maximum(near - covered, 0).sum(axis=1)
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        covered = np.maximum(covered, near[picks[-1]])
    return picks


def test_herding_is_greedy_and_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herding, "AT_ONCE", 3)
    points = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
    choice = max_herding(Pool(embeddings=points), 15, np.random.default_rng(0))
    width = herding._median_distance(points) / 2
    assert choice.rows.tolist() == naive_herd(points.astype(np.float64), 15, width)
    assert (np.diff(choice.scores) <= 1e-9).all()


@pytest.mark.parametrize("strategy", [prob_cover, max_herding])
def test_the_largest_group_comes_first_and_every_group_is_covered(strategy) -> None:
    points, where = islands(60, 40, 30)
    seen = Pool(embeddings=points, probs=np.full((130, 3), 1 / 3, np.float32))
    choice = strategy(seen, 3, np.random.default_rng(0))
    assert where[choice.rows].tolist() == [0, 1, 2]


@pytest.mark.parametrize("strategy", [prob_cover, max_herding])
def test_what_is_labelled_is_covered_already(strategy) -> None:
    points, where = islands(60, 40, 30)
    pool = Pool(embeddings=points, labelled=points[:3], probs=np.full((130, 3), 1 / 3, np.float32))
    choice = strategy(pool, 2, np.random.default_rng(0))
    assert sorted(where[choice.rows]) == [1, 2]


def test_uncertainty_herding_goes_where_the_model_is_in_doubt() -> None:
    points, where = islands(50, 50)
    probs = np.where(where[:, None] == 0, [0.99, 0.01], [0.55, 0.45]).astype(np.float32)
    labelled = np.concatenate([points[:2], points[50:52]])
    pool = Pool(probs=probs, embeddings=points, labelled=labelled, labels=np.array([0, 0, 1, 1]))
    choice = uncertainty_herding(pool, 4, np.random.default_rng(0))
    assert (where[choice.rows] == 1).mean() >= 0.75


def test_without_labels_every_prediction_is_worth_the_same() -> None:
    pool = Pool(probs=np.array([[0.9, 0.1], [0.5, 0.5]]), embeddings=np.eye(2, dtype=np.float32))
    assert calibrated_uncertainty(pool, np.random.default_rng(0)).tolist() == [1, 1]


def test_a_model_that_is_too_sure_is_heated_until_it_is_as_sure_as_neighbours_are_right() -> None:
    rng = np.random.default_rng(0)
    points, where = islands(50, 50)
    guessed = rng.integers(2, size=100)  # labels have nothing to do with the place
    sure = np.eye(2)[guessed] * 0.98 + 0.01
    pool = Pool(probs=sure, embeddings=points, labelled=points, labels=guessed)
    told = replace(pool, labels=where)
    assert calibrated_uncertainty(pool, rng).mean() > 0.5 > calibrated_uncertainty(told, rng).mean()


def test_a_pool_larger_than_the_sample_is_covered_by_a_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(herding, "SAMPLE", 60)
    points, where = islands(200, 200, 200)
    choice = max_herding(Pool(embeddings=points), 3, np.random.default_rng(0))
    assert sorted(where[choice.rows]) == [0, 1, 2]
    assert len(max_herding(Pool(embeddings=points), 90, np.random.default_rng(0)).rows) == 90
