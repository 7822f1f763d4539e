"""A cheap head that learns from ever more of the labels, and is asked about rows it never saw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.budget.subset_curve import LEAST, subset_errors, subset_sizes


def blobs(rng: np.random.Generator, rows: int, *, width: int = 20) -> tuple[np.ndarray, list[str]]:
    """Rows around three middles, not far apart, and the names of these."""
    numbers = rng.integers(3, size=rows)
    middles = np.random.default_rng(9).normal(0, 0.6, size=(3, width))
    return middles[numbers] + rng.normal(size=(rows, width)), [f"class {one}" for one in numbers]


@given(st.integers(2 * LEAST, 10**6))
def test_subsets_grow_up_to_all_labels(rows):
    sizes = subset_sizes(rows)
    assert sizes[0] >= LEAST and sizes[-1] == rows
    assert (np.diff(sizes) > 0).all() and len(sizes) >= 3


def test_too_few_labels_are_refused_with_how_many_are_needed():
    with pytest.raises(ValueError, match="20 are needed"):
        subset_sizes(19)


def test_more_labels_mean_fewer_mistakes_and_all_of_them_the_same_in_any_order():
    rng = np.random.default_rng(0)
    rows, names = blobs(rng, 400)
    asked, truths = blobs(rng, 300)
    sizes, mistaken = subset_errors(rows, names, asked, truths, rng)
    assert mistaken.shape == (len(sizes), 5, 300)
    shares = mistaken.mean(axis=(1, 2))
    assert shares[0] > shares[3] > shares[-1]
    assert (mistaken[-1] == mistaken[-1, 0]).all()


def test_the_same_seed_gives_the_same_mistakes():
    rows, names = blobs(np.random.default_rng(1), 60)
    first, second = (
        subset_errors(rows, names, rows[:20], names[:20], np.random.default_rng(2))[1]
        for _ in range(2)
    )
    assert (first == second).all()


@pytest.mark.parametrize("width", [1, 5, 200])
def test_features_may_be_few_many_or_alike(width):
    rng = np.random.default_rng(3)
    rows, names = blobs(rng, 60, width=width)
    rows = np.concatenate([rows, np.ones((60, 3))], axis=1).astype(np.float32)
    _, mistaken = subset_errors(rows, names, rows, names, rng)
    assert mistaken[-1].mean() < 0.67
    _, lost = subset_errors(np.ones((60, 4)), names, np.ones((9, 4)), names[:9], rng)
    assert len(np.unique(lost[-1].sum(axis=1))) == 1


def test_one_class_alone_is_never_mistaken():
    rng = np.random.default_rng(4)
    rows, _ = blobs(rng, 30)
    _, mistaken = subset_errors(rows, ["cat"] * 30, rows[:9], ["cat"] * 9, rng)
    assert not mistaken.any()
