import sys

import numpy as np
import pytest

from labeling.strategies.bait import RIDGE, Head, bait, bait_by_class, rare_bait
from labeling.strategies.cluster_margin import rarity
from labeling.strategies.design import Scale
from labeling.strategies.pool import Pool


def pool_of(rows: int = 300, labelled: int = 12, *, seed: int = 0, classes: int = 3) -> Pool:
    """A linear head's pool: few directions vary much, and the labelled are drawn from it."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(rows + labelled, 8)).astype(np.float32) * np.arange(8, 0, -1)
    points = points / np.sqrt((points**2).sum(axis=1).mean())
    logits = points @ rng.normal(size=(8, classes)) * 3
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Pool(
        probs=probs[:rows].astype(np.float32),
        embeddings=points[:rows].astype(np.float32),
        labelled=points[rows:].astype(np.float32) if labelled else None,
        labels=probs[rows:].argmax(axis=1) if labelled else None,
    )


def definition(pool: Pool, size: int, counts: np.ndarray | None = None) -> list[int]:
    """BAIT with every inverse computed anew, the labelled rows' predictions by the true head."""
    assert pool.probs is not None
    assert pool.embeddings is not None
    scale = Scale.of(pool.embeddings)
    points = scale.points(pool.embeddings).astype(np.float64)
    counts = np.ones(len(pool)) if counts is None else counts
    weights = (pool.probs * (1 - pool.probs)).mean(axis=1)
    wanted = np.einsum("n,ni,nj->ij", weights * counts, points, points)
    known = RIDGE * np.eye(points.shape[1])
    if pool.labelled is not None:
        past = scale.points(pool.labelled).astype(np.float64)
        probs = Head(points, pool.probs).probs(past)
        known += np.einsum("n,ni,nj->ij", (probs * (1 - probs)).mean(axis=1), past, past)
    picks: list[int] = []
    for _ in range(size):
        left = [
            np.trace(np.linalg.solve(known + weights[row] * np.outer(x, x), wanted))
            if row not in picks
            else np.inf
            for row, x in enumerate(points)
        ]
        picks.append(int(np.argmin(left)))
        known = known + weights[picks[-1]] * np.outer(points[picks[-1]], points[picks[-1]])
    return picks


@pytest.mark.parametrize("labelled", [0, 12])
def test_it_is_the_greedy_choice_by_the_definition(labelled: int) -> None:
    pool = pool_of(labelled=labelled)
    assert bait(pool, 10, np.random.default_rng(0)).rows.tolist() == definition(pool, 10)


def test_rare_classes_count_for_more_in_what_is_wanted() -> None:
    pool = pool_of()
    counts = rarity(pool)
    assert rare_bait(pool, 10, np.random.default_rng(0)).rows.tolist() == definition(
        pool, 10, counts
    )


def test_a_linear_head_is_found_again_from_its_predictions() -> None:
    pool = pool_of(labelled=50)
    assert pool.probs is not None
    assert pool.embeddings is not None
    points = Scale.of(pool.embeddings).points(pool.embeddings)
    assert Head(points[::2], pool.probs[::2]).probs(points) == pytest.approx(pool.probs, abs=2e-3)


def test_where_the_embeddings_lie_and_how_long_they_are_changes_nothing() -> None:
    pool = pool_of()
    assert pool.embeddings is not None
    assert pool.labelled is not None
    moved = Pool(
        probs=pool.probs, embeddings=40 * pool.embeddings + 7, labelled=40 * pool.labelled + 7,
        labels=pool.labels,
    )  # fmt: skip
    for choose in (bait, rare_bait, bait_by_class):
        rows = [choose(each, 12, np.random.default_rng(1)).rows.tolist() for each in (pool, moved)]
        assert rows[0] == rows[1]


def test_by_class_a_label_tells_of_the_classes_that_are_doubted() -> None:
    """The doubt is between classes 0 and 1 in one direction, 2 and 3 in another."""
    rng = np.random.default_rng(0)
    points = np.zeros((400, 8), np.float32)
    points[:200, :2], points[200:, 2:4] = rng.normal(size=(2, 200, 2))
    probs = np.full((400, 4), 0.01)
    probs[:200, :2], probs[200:, 2:] = 0.49, 0.49
    rows = bait_by_class(Pool(probs=probs, embeddings=points), 10, np.random.default_rng(0)).rows
    assert 3 <= (rows < 200).sum() <= 7


def test_what_is_asked_about_already_is_not_asked_about_again() -> None:
    pool = pool_of(labelled=0)
    assert pool.embeddings is not None
    first = bait(pool, 5, np.random.default_rng(0)).rows
    known = np.repeat(pool.embeddings[first], 50, axis=0)
    after = Pool(probs=pool.probs, embeddings=pool.embeddings, labelled=known)
    assert not set(bait(after, 5, np.random.default_rng(0)).rows.tolist()) & set(first.tolist())


def test_of_a_large_pool_doubted_rows_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[bait.__module__]
    monkeypatch.setattr(module, "EVERY", 100)
    monkeypatch.setattr(module, "DRAWN", 40)
    monkeypatch.setattr(module, "TARGETS", 50)
    sure = np.tile([1.0, 0, 0], (900, 1))
    pool = pool_of(rows=100, labelled=0)
    assert pool.probs is not None
    assert pool.embeddings is not None
    rng = np.random.default_rng(0)
    many = Pool(
        probs=np.concatenate([sure, pool.probs]),
        embeddings=np.concatenate([rng.normal(size=(900, 8)).astype("f4"), pool.embeddings]),
    )
    chosen = bait(many, 30, rng)
    assert len(set(chosen.rows.tolist())) == 30
    assert (chosen.rows >= 900).mean() > 0.8


def test_without_predictions_all_are_doubted_alike() -> None:
    pool = pool_of(labelled=0)
    chosen = bait(Pool(embeddings=pool.embeddings), 4, np.random.default_rng(0))
    assert len(chosen.rows) == 4
    assert (chosen.scores > 0).all()


def test_without_what_they_need_they_name_it() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="needs embeddings"):
        bait(Pool(probs=np.full((3, 2), 0.5)), 1, rng)
    for choose in (rare_bait, bait_by_class):
        with pytest.raises(ValueError, match="needs probabilities"):
            choose(Pool(embeddings=np.ones((3, 2), np.float32)), 1, rng)
