import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from labeling.strategies.badge import badge
from labeling.strategies.pool import Pool

module = sys.modules["labeling.strategies.badge"]  # the package has the function by this name


def pool_of(count: int, seed: int = 0, *, width: int = 6, classes: int = 4, **more) -> Pool:
    rng = np.random.default_rng(seed)
    embeddings = rng.gamma(2, size=(count, width)).astype(np.float32)
    return Pool(probs=rng.dirichlet(np.ones(classes), count), embeddings=embeddings, **more)


def gradients(pool: Pool) -> np.ndarray:
    """Written out, as the definition has them."""
    assert pool.probs is not None
    assert pool.embeddings is not None
    doubts = pool.probs - np.eye(pool.probs.shape[1])[pool.probs.argmax(axis=1)]
    return (doubts[:, :, None] * pool.embeddings[:, None, :]).reshape(len(pool), -1)


def apart(pool: Pool, centres: list[int]) -> np.ndarray:
    """Squared distances to the nearest of the centres."""
    own = gradients(pool)
    return ((own[:, None, :] - own[None, centres, :]) ** 2).sum(axis=2).min(axis=1)


def batches(pool: Pool, size: int, times: int) -> np.ndarray:
    return np.array([badge(pool, size, np.random.default_rng(n)).rows for n in range(times)])


def assert_drawn_by(chances: np.ndarray, rows: np.ndarray) -> None:
    """Rare rows count together, as the test asks for it."""
    counts = np.bincount(rows, minlength=len(chances))
    expected = chances * len(rows)
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    assert (counts[expected == 0] == 0).all()
    assert chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 0.001


def test_the_first_is_the_longest_gradient():
    pool = pool_of(200)
    first = badge(pool, 1, np.random.default_rng(0)).rows[0]
    assert first == (gradients(pool) ** 2).sum(axis=1).argmax()


def test_the_second_is_drawn_by_its_squared_distance():
    pool = pool_of(200)
    drawn = batches(pool, 2, 4000)
    chances = apart(pool, [int(drawn[0, 0])])
    assert_drawn_by(chances / chances.sum(), drawn[:, 1])


@pytest.mark.parametrize("proposals", [2, 1024])
def test_so_are_the_third_and_the_fourth_whatever_was_proposed_before(monkeypatch, proposals):
    monkeypatch.setattr(module, "PROPOSALS", proposals)
    pool = pool_of(12)
    drawn = batches(pool, 4, 3000)
    states: dict[tuple[int, ...], float] = {(int(drawn[0, 0]),): 1.0}
    for nth in (1, 2, 3):
        chances, following = np.zeros(12), {}
        for chosen, chance in states.items():
            far = apart(pool, list(chosen))
            for row, share in enumerate(chance * far / far.sum()):
                chances[row] += share
                if share:
                    following[*chosen, row] = share
        assert_drawn_by(chances, drawn[:, nth])
        states = following


def test_scores_are_the_distances_at_which_each_was_drawn():
    pool = pool_of(300)
    choice = badge(pool, 40, np.random.default_rng(0))
    rows = choice.rows.tolist()
    for nth in range(1, 40):
        distance = np.sqrt(apart(pool, rows[:nth])[rows[nth]])
        assert choice.scores[nth] == pytest.approx(distance, rel=1e-3)


def test_many_rows_are_proposed_in_proportion_over_more_than_one_block(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)
    pool = pool_of(60)
    drawn = batches(pool, 2, 2000)
    chances = apart(pool, [int(drawn[0, 0])])
    assert_drawn_by(chances / chances.sum(), drawn[:, 1])


@pytest.mark.parametrize("seed", range(3))
def test_one_of_each_kind_comes_before_any_copy(seed):
    kinds = pool_of(20, seed)
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(20), 50))
    assert kinds.probs is not None and kinds.embeddings is not None
    pool = Pool(probs=kinds.probs[order], embeddings=kinds.embeddings[order])
    rows = badge(pool, 40, np.random.default_rng(seed)).rows
    assert len(set(rows.tolist())) == 40
    assert sorted(order[rows[:20]]) == list(range(20))


@given(seed=st.integers(0, 1000), asked=st.integers(0, 40), classes=st.integers(1, 4))
def test_only_allowed_rows_are_chosen_each_once_and_as_many_as_there_are(seed, asked, classes):
    allowed = np.random.default_rng(seed).random(30) < 0.6
    pool = pool_of(30, seed, classes=classes, allowed=allowed)
    rows = badge(pool, asked, np.random.default_rng(seed)).rows.tolist()
    assert len(set(rows)) == len(rows) == min(asked, allowed.sum())
    assert allowed[rows].all()


@pytest.mark.parametrize("doubt", [0.0, 0.4])
def test_of_nothing_but_copies_the_lot_decides(doubt):
    probs = np.tile([1 - doubt, doubt], (50, 1))
    pool = Pool(probs=probs, embeddings=np.ones((50, 3), dtype=np.float32))
    drawn = [badge(pool, 20, np.random.default_rng(seed)).rows.tolist() for seed in (1, 1, 2)]
    assert all(len(set(rows)) == 20 for rows in drawn)
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_is_certain_comes_last():
    pool = pool_of(40)
    assert pool.probs is not None
    pool.probs[10:] = [1, 0, 0, 0]
    rows = badge(pool, 20, np.random.default_rng(0)).rows
    # the first certain one is as good as any row: a zero gradient is far from the others too
    assert set(rows[:11].tolist()) >= set(range(10))
    assert len(set(rows.tolist())) == 20


def test_a_read_only_file_is_enough(tmp_path):
    pool = pool_of(300)
    assert pool.embeddings is not None
    np.save(tmp_path / "rows.npy", pool.embeddings)
    mapped = Pool(probs=pool.probs, embeddings=np.load(tmp_path / "rows.npy", mmap_mode="r"))
    both = [badge(one, 30, np.random.default_rng(4)).rows.tolist() for one in (pool, mapped)]
    assert both[0] == both[1]


def test_without_embeddings_it_says_so():
    with pytest.raises(ValueError, match="needs both"):
        badge(Pool(probs=np.full((3, 2), 0.5)), 1, np.random.default_rng(0))
