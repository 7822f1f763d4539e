import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from labeling.strategies.pool import Pool
from labeling.strategies.uncertainty_coverage import rare_uncertainty_coverage, uncertainty_coverage

SURE, TORN = [0.98, 0.01, 0.01], [0.45, 0.45, 0.10]


def groups(sizes: dict[int, int], *, seed: int = 0) -> np.ndarray:
    """Tight groups of so many samples, far from each other."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            10 * np.eye(6, dtype=np.float32)[place]
            + rng.normal(scale=0.1, size=(size, 6)).astype(np.float32)
            for place, size in sizes.items()
        ]
    )


def test_doubt_goes_before_certainty_however_large_its_group() -> None:
    seen = Pool(probs=np.array([SURE] * 50 + [TORN] * 10), embeddings=groups({0: 50, 1: 10}))
    assert uncertainty_coverage(seen, 1, np.random.default_rng(0)).rows[0] >= 50


def test_among_equal_doubts_the_larger_group_goes_first() -> None:
    seen = Pool(probs=np.array([TORN] * 40), embeddings=groups({0: 10, 1: 30}))
    assert uncertainty_coverage(seen, 1, np.random.default_rng(0)).rows[0] >= 10


def test_a_batch_has_one_of_every_doubtful_group_before_a_second_of_any() -> None:
    seen = Pool(probs=np.array([TORN] * 40), embeddings=groups({0: 25, 1: 5, 2: 10}))
    rows = uncertainty_coverage(seen, 3, np.random.default_rng(0)).rows
    assert {int(np.searchsorted([25, 30], row, side="right")) for row in rows} == {0, 1, 2}


def test_what_is_like_a_labelled_sample_waits() -> None:
    points = groups({0: 12, 1: 6, 2: 6, 3: 6})
    seen = Pool(probs=np.array([TORN] * 30), embeddings=points, labelled=points[:1])
    assert uncertainty_coverage(seen, 1, np.random.default_rng(0)).rows[0] >= 12


def test_a_copy_of_what_was_asked_is_worth_nothing() -> None:
    points = np.repeat(groups({0: 1, 1: 1, 2: 1}), 10, axis=0)
    seen = Pool(probs=np.array([TORN] * 30), embeddings=points)
    chosen = uncertainty_coverage(seen, 5, np.random.default_rng(0))
    assert len(set((chosen.rows[:3] // 10).tolist())) == 3
    assert (chosen.scores[:3] > 0.1).all()
    assert chosen.scores[3:] == pytest.approx(0, abs=1e-5)


def test_all_certain_are_still_spread() -> None:
    seen = Pool(probs=np.array([[1.0, 0, 0]] * 20), embeddings=groups({0: 10, 1: 10}))
    rows = uncertainty_coverage(seen, 2, np.random.default_rng(0)).rows
    assert sorted((rows // 10).tolist()) == [0, 1]


def test_without_predictions_all_are_in_doubt_alike() -> None:
    seen = Pool(embeddings=groups({0: 10, 1: 30}))
    assert uncertainty_coverage(seen, 1, np.random.default_rng(0)).rows[0] >= 10


def test_without_embeddings_it_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="needs embeddings"):
        uncertainty_coverage(Pool(probs=np.array([TORN])), 1, np.random.default_rng(0))


@settings(max_examples=40, deadline=None)
@given(
    count=some.integers(1, 60),
    size=some.integers(0, 70),
    labels=some.integers(0, 5),
    differ=some.booleans(),
    seed=some.integers(0, 5),
)
def test_a_batch_is_full_allowed_without_repeats_and_scored_from_the_top(
    count: int, size: int, labels: int, differ: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 4)).astype(np.float32)
    points = points if differ else np.ones_like(points)
    allowed = rng.random(count) < 0.7
    seen = Pool(
        probs=rng.dirichlet(np.ones(3), size=count),
        embeddings=points,
        labelled=rng.normal(size=(labels, 4)).astype(np.float32),
        allowed=allowed,
    )
    chosen = uncertainty_coverage(seen, size, np.random.default_rng(seed))
    assert len(set(chosen.rows.tolist())) == len(chosen.rows) == min(size, int(allowed.sum()))
    assert allowed[chosen.rows].all()
    assert (np.diff(chosen.scores) <= 1e-6).all()
    again = uncertainty_coverage(seen, size, np.random.default_rng(seed))
    assert np.array_equal(chosen.rows, again.rows)


def test_the_rare_class_goes_before_the_common_ones_that_are_doubted_as_much() -> None:
    probs = np.full((300, 3), 0.02)
    probs[:, :2] += [0.5, 0.44]
    probs[::10] = [0.44, 0.02, 0.54]
    rng = np.random.default_rng(0)
    seen = Pool(
        probs=probs / probs.sum(axis=1, keepdims=True),
        embeddings=rng.normal(size=(300, 16)).astype(np.float32),
        labels=np.array([0] * 50 + [1] * 49 + [2]),
    )
    rare, plain = (
        choose(seen, 20, np.random.default_rng(0)).rows
        for choose in (rare_uncertainty_coverage, uncertainty_coverage)
    )
    assert (rare % 10 == 0).mean() > 0.5 > (plain % 10 == 0).mean()


def test_rarity_needs_predictions() -> None:
    with pytest.raises(ValueError, match="needs probabilities"):
        rare_uncertainty_coverage(Pool(embeddings=groups({0: 3})), 1, np.random.default_rng(0))
