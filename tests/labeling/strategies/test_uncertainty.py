import math

import numpy as np

from labeling.strategies.pool import Pool
from labeling.strategies.uncertainty import (
    bald,
    by_entropy,
    by_least_confidence,
    by_margin,
    disagreement,
    entropy,
    least_confidence,
    margin,
)

SURE, TORN, EVEN = [0.98, 0.01, 0.01], [0.5, 0.48, 0.02], [1 / 3, 1 / 3, 1 / 3]


def test_a_score_is_higher_the_less_the_model_knows() -> None:
    probs = np.array([SURE, TORN, EVEN])
    assert np.allclose(margin(probs), [0.03, 0.98, 1.0])
    assert np.allclose(entropy(probs), [0.1119, 0.7771, math.log(3)], atol=1e-4)
    assert np.allclose(least_confidence(probs), [0.02, 0.5, 2 / 3])


def test_a_certain_prediction_scores_nothing() -> None:
    certain = np.array([[1.0, 0.0]])
    assert [score(certain)[0] for score in (margin, entropy, least_confidence)] == [0, 0, 0]
    assert disagreement(np.stack([certain, certain])) == [0]


def test_draws_that_all_see_a_tie_teach_nothing_and_draws_that_contradict_teach_all() -> None:
    tie, contradiction = [[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]
    draws = np.array([tie, contradiction]).transpose(1, 0, 2)  # [looks, n, classes]
    assert np.allclose(disagreement(draws), [0, math.log(2)])
    pool = Pool(probs=draws.mean(axis=0), ensemble=draws)
    assert bald(pool, 1, np.random.default_rng(0)).rows.tolist() == [1]


def test_the_highest_scores_of_the_allowed_come_first() -> None:
    probs = np.array([SURE, TORN, EVEN, SURE])
    pool = Pool(probs=probs, allowed=np.array([True, True, False, True]))
    for strategy in (by_least_confidence, by_margin, by_entropy):
        choice = strategy(pool, 3, np.random.default_rng(0))
        assert choice.rows[0] == 1
        assert set(choice.rows) == {0, 1, 3}
        assert (np.diff(choice.scores) <= 0).all()


def test_among_equals_the_lot_decides() -> None:
    pool = Pool(probs=np.tile(EVEN, (100, 1)))
    rows = by_margin(pool, 50, np.random.default_rng(0)).rows
    assert len(set(rows)) == 50
    assert 15 < (rows < 50).sum() < 35
