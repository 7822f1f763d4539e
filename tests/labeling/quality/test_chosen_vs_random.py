import numpy as np
import pytest

from labeling.quality.chosen_vs_random import compare_to_random


def situation(bad: str | None, *, seed: int = 0) -> tuple:
    """Three groups; the arm called `bad` knows two of them only."""
    rng = np.random.default_rng(seed)
    where = rng.integers(3, size=1000)
    points = (rng.normal(0, 1, (1000, 8)) + 4 * np.eye(8)[where]).astype(np.float32)
    names = np.array(["a", "b", "c"], dtype=object)[where]
    labelled, audit = slice(0, 600), slice(600, 1000)
    is_random = np.arange(600) < 200
    keep = np.ones(600, dtype=bool)
    if bad is not None:
        keep = ~((names[labelled] == "c") & (is_random == (bad == "random")))
    return (
        points[labelled][keep],
        names[labelled][keep],
        is_random[keep],
        points[audit],
        names[audit],
        np.random.default_rng(seed),
    )


def test_a_strategy_that_finds_what_chance_misses_is_better_than_random() -> None:
    found = compare_to_random(*situation("random"))
    assert found is not None
    assert found.low > 0.1
    assert found.summary.startswith("better than random: with ")


def test_a_strategy_that_misses_a_class_is_worse_than_random_and_says_so() -> None:
    found = compare_to_random(*situation("chosen"))
    assert found is not None
    assert found.high < -0.1
    assert found.summary.startswith("worse than random")


def test_arms_that_are_alike_are_not_told_apart() -> None:
    told = [compare_to_random(*situation(None, seed=seed)) for seed in range(20)]
    assert sum(one is not None and one.low <= 0 <= one.high for one in told) >= 18


def test_both_arms_learn_from_as_many_labels() -> None:
    points, names, is_random, *rest = situation(None)
    found = compare_to_random(points, names, is_random, *rest)
    assert found is not None
    assert found.labels == 200
    assert found.audit == 400


def test_too_few_labels_tell_nothing() -> None:
    points, names, is_random, *rest = situation(None)
    few = np.r_[0:10, 200:600]
    assert compare_to_random(points[few], names[few], is_random[few], *rest) is None


def test_arms_of_very_unequal_size_have_no_start_over_each_other() -> None:
    gains = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        where = rng.integers(4, size=600)
        points = rng.normal(0, 1, (600, 60)) + 2 * np.eye(60)[where]
        names = where.astype(str).astype(object)
        is_random = np.arange(400) < 30  # the others are as much drawn at random
        found = compare_to_random(
            points[:400], names[:400], is_random, points[400:], names[400:], rng
        )
        assert found is not None
        gains.append(found.chosen - found.random)
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(len(gains))


@pytest.mark.parametrize(("labels", "audit"), [(20, 20), (19, 20), (20, 19)])
def test_20_labels_of_each_kind_are_enough(labels: int, audit: int) -> None:
    points, names, _, audit_points, audit_names, rng = situation(None)
    is_random = np.arange(200) < labels
    comparison = compare_to_random(
        points[:200], names[:200], is_random, audit_points[:audit], audit_names[:audit], rng
    )
    assert (comparison is not None) == (labels == audit == 20)
