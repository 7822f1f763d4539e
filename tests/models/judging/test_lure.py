"""What a chosen batch says about the whole pool: LURE, its interval, and the naive share."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.intervals import Interval, share_bounds
from labeling.batches.candidates import candidates_of
from labeling.batches.select import SelectionConfig, select_batch
from labeling.strategies.pool import Pool
from models.judging.lure import is_sequential_draw, lure_accuracy, naive_accuracy


def draw(
    rng: np.random.Generator, hardest: np.ndarray, size: int, *, audit: int, chance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows in the order drawn, with which probability, from how many: as a batch is made up."""
    lot, ranked = rng.permutation(len(hardest)).tolist(), hardest.tolist()
    taken: dict[int, tuple[float, int]] = {}
    for place in range(size):
        left = len(hardest) - place
        by_chance = place < audit or rng.random() < chance
        row = next(row for row in (lot if by_chance else ranked) if row not in taken)
        odds = 1 / left if place < audit else chance / left + (0 if by_chance else 1 - chance)
        taken[row] = odds, left
    odds_of, left_of = zip(*taken.values(), strict=True)
    return np.array(list(taken)), np.array(odds_of), np.array(left_of)


def repeated(
    seed: int, times: int, *, wrong: float, rows: int = 500, size: int = 60, audit: int = 12
) -> tuple[float, list[Interval], list[Interval]]:
    """The true accuracy; what LURE and the naive share said of it, batch after batch."""
    rng = np.random.default_rng(seed)
    doubt = rng.random(rows)
    right = rng.random(rows) >= np.minimum(1, 3 * wrong * doubt**2)  # the doubtful fail
    fair, plain = [], []
    for _ in range(times):
        taken, odds, left = draw(rng, np.argsort(-doubt), size, audit=audit, chance=0.1)
        fair.append(lure_accuracy(right[taken], draw_probability=odds, draws_from=left))
        plain.append(naive_accuracy(right[taken]))
    return float(right.mean()), fair, plain


@pytest.mark.parametrize("wrong", [0.1, 0.3])
def test_the_naive_share_is_wrong_about_the_pool_and_lure_is_not(wrong):
    truth, fair, plain = repeated(0, 600, wrong=wrong)
    values = np.array([one.value for one in fair])
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(len(values))
    assert np.mean([one.value for one in plain]) < truth - 0.1


@pytest.mark.parametrize("wrong", [0.03, 0.1, 0.3])
def test_the_interval_of_lure_holds_as_often_as_it_says(wrong):
    truth, fair, _ = repeated(1, 600, wrong=wrong)
    held = np.mean([one.low <= truth <= one.high for one in fair])
    assert held > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 600)


def pool_of(rows, twins=1):
    """A pool in which so many samples are near-duplicates of one another."""
    pool = pd.DataFrame(
        {
            "sample_id": [f"s{row:04d}" for row in range(rows)],
            "group_id": [f"g{row // twins:04d}" for row in range(rows)],
            "origin": "ingest",
            "source": "here",
            "added_at": "2026-01-01T00:00:00+00:00",
        }
    )
    return candidates_of(pool)


def test_what_select_batch_wrote_down_is_what_lure_needs():
    rng = np.random.default_rng(2)
    rows = 200
    certainty = rng.uniform(0.5, 1, rows)
    right = rng.random(rows) < certainty
    pool = pool_of(rows)
    seen = Pool(probs=np.column_stack([certainty, 1 - certainty]))
    config = SelectionConfig(strategy="margin", size=40, audit_share=0.2, random_share=0.2)
    truths = pd.Series(right, pool["sample_id"])
    values = []
    for seed in range(150):
        batch = select_batch(pool, seen, config, np.random.default_rng(seed))[0].rows
        found = lure_accuracy(
            truths[batch["sample_id"]].to_numpy(),
            draw_probability=batch["draw_probability"].to_numpy(dtype=float),
            draws_from=batch["draws_from"].to_numpy(dtype=float),
        )
        values.append(found.value)
    assert abs(np.mean(values) - right.mean()) < 3 * np.std(values) / np.sqrt(len(values))


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 100))
def test_with_nothing_but_chance_it_is_the_plain_share(right, more):
    left = np.arange(len(right) + more, more, -1)
    found = lure_accuracy(np.array(right), draw_probability=1 / left, draws_from=left)
    assert found.value == pytest.approx(np.mean(right))
    assert 0 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 1


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(1, 29))
def test_a_pool_that_was_asked_about_to_the_end_is_known(right, chosen):
    left = np.arange(len(right), 0, -1)
    odds = np.where(np.arange(len(right)) < chosen, 0.9, 0.1 / left)
    odds[-1] = 1.0
    found = lure_accuracy(np.array(right), draw_probability=odds, draws_from=left)
    assert found.value == pytest.approx(np.mean(right))


def test_a_small_batch_of_a_large_pool_says_what_its_random_samples_say():
    left = np.arange(10**6, 10**6 - 50, -1)
    by_chance = np.arange(50) % 5 == 0
    right = by_chance & (np.arange(50) % 10 == 0)
    odds = np.where(by_chance, 0.2 / left, 0.8)
    found = lure_accuracy(right, draw_probability=odds, draws_from=left)
    alone = naive_accuracy(right[by_chance])
    for told, plain in zip(
        (found.value, found.low, found.high), (alone.value, alone.low, alone.high), strict=True
    ):
        assert told == pytest.approx(plain, abs=1e-3)


@pytest.mark.parametrize(
    ("twins", "told"),
    [(1, True), (10, False)],
    ids=["nobody has a near-duplicate", "ten of a kind leave together"],
)
def test_near_duplicates_that_leave_with_what_was_drawn_make_lure_wrong_and_are_seen(twins, told):
    rng = np.random.default_rng(3)
    rows = 1000
    doubt = np.repeat(rng.random(rows // twins), twins)
    right = rng.random(rows) >= np.minimum(1, doubt**2)
    pool = pool_of(rows, twins)
    seen = Pool(probs=np.column_stack([1 - doubt / 2, doubt / 2]))
    config = SelectionConfig(strategy="margin", size=90)
    off = []
    for seed in range(60):
        batch = select_batch(pool, seen, config, np.random.default_rng(seed))[0].rows
        taken = batch["sample_id"].str[1:].astype(int).to_numpy()
        drawn, left = (batch[name].to_numpy() for name in ("draw_probability", "draws_from"))
        assert is_sequential_draw(left) is told
        off.append(
            lure_accuracy(right[taken], draw_probability=drawn, draws_from=left).value
            - right.mean()
        )
    is_right = abs(np.mean(off)) < 3 * np.std(off) / np.sqrt(len(off))
    assert is_right == told


def test_a_few_near_duplicates_of_a_large_pool_do_no_harm_and_more_samples_than_before_do():
    left = np.arange(1000, 900, -1)
    assert is_sequential_draw(left) and is_sequential_draw(left[:1])
    assert is_sequential_draw(left - 10 * (left < 950))
    assert not is_sequential_draw(left - 11 * (left < 950))
    assert not is_sequential_draw(left + 1 * (left < 950))


def test_a_batch_without_chance_says_nothing_about_the_rest():
    with pytest.raises(ValueError, match="random_share above 0"):
        lure_accuracy(np.ones(3), draw_probability=np.full(3, 0.9), draws_from=np.array([9, 8, 7]))


@pytest.mark.parametrize(
    ("right", "odds", "said"),
    [
        ([], [], "label some"),
        ([1, 0], [0.5], "one of each"),
        ([1.5], [0.5], "from 0 \\(wrong\\) to 1"),
    ],
)
def test_what_is_no_batch_is_refused(right, odds, said):
    with pytest.raises(ValueError, match=said):
        lure_accuracy(np.array(right), draw_probability=np.array(odds), draws_from=np.array(odds))


@pytest.mark.parametrize("rows", [10, 20, 50, 200])
@pytest.mark.parametrize("share", [0.9, 0.95, 0.99])
def test_the_bounds_of_few_mistakes_hold_as_often_as_they_say(rows, share):
    found = np.random.default_rng(rows).binomial(rows, share, 4000) / rows
    held = np.mean(
        [low <= share <= high for low, high in (share_bounds(one, rows) for one in found)]
    )
    assert held > 0.935
