import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from labeling.strategies.auto import CANDIDATES, LEAST_PART, auto, plan
from labeling.strategies.pool import Pool
from labeling.strategies.substitute import usable

CLASSES = 4


def embeddings(count: int, *, seed: int = 0, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def probabilities(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1.0] * CLASSES, size=count)


def pool(count: int = 200, *, labels: int = 0) -> Pool:
    return Pool(
        probs=probabilities(count),
        embeddings=embeddings(count),
        labelled=embeddings(labels, seed=1),
        labels=np.arange(labels) % CLASSES,
    )


def test_before_the_first_label_the_pool_is_covered() -> None:
    assert plan(Pool(embeddings=embeddings(50)), 5, np.random.default_rng(0)).parts == {
        "coverage": 1.0
    }
    waiting = Pool(probabilities(50), embeddings(50), None, embeddings(9), np.full(9, -1))
    assert plan(waiting, 5, np.random.default_rng(0)).parts == {"coverage": 1.0}


def test_without_embeddings_doubt_alone_decides() -> None:
    blind = Pool(probs=probabilities(50))
    assert plan(blind, 5, np.random.default_rng(0)).parts == {"margin": 1.0}
    assert usable("auto", blind)[0] == "margin"  # the batch names it, not `auto`


def test_with_nothing_to_see_chance_decides_and_is_called_by_its_name() -> None:
    blind = Pool(allowed=np.arange(30) < 20)
    assert set(auto(blind, 20, np.random.default_rng(0)).rows.tolist()) == set(range(20))
    assert usable("auto", blind)[0] == "random"  # whose draws are recorded with their odds


def test_who_shares_the_batch_has_a_part_worth_having_and_every_row_has_one_who_wanted_it() -> None:
    decided = plan(pool(labels=40), 60, np.random.default_rng(0))
    assert sum(decided.parts.values()) == pytest.approx(1)
    assert min(decided.parts.values()) >= LEAST_PART
    choice = auto(pool(labels=40), 60, np.random.default_rng(0))
    for name, part in decided.parts.items():
        assert choice.by.count(name) == pytest.approx(60 * part, abs=1)
        assert choice.by[:20].count(name) == pytest.approx(20 * part, abs=2)  # from the start on


def test_the_reason_names_the_parts_the_labels_and_what_each_candidate_is_worth() -> None:
    why = auto(pool(labels=40), 20, np.random.default_rng(0)).why
    assert "by 40 labels" in why
    for name in CANDIDATES:
        assert name in why


def test_a_pool_that_is_asked_whole_is_not_judged() -> None:
    decided = plan(pool(20, labels=40), 20, np.random.default_rng(0))
    assert "the whole pool" in decided.why


@settings(max_examples=25, deadline=None)
@given(
    count=some.integers(1, 60),
    size=some.integers(0, 70),
    labels=some.sampled_from([0, 1, 3, 30]),
    copies=some.booleans(),
    seed=some.integers(0, 5),
)
def test_a_batch_is_full_allowed_without_repeats_and_the_same_again(
    count: int, size: int, labels: int, copies: bool, seed: int
) -> None:
    seen = np.ones((count, 8), np.float32) if copies else embeddings(count, seed=seed)
    allowed = np.random.default_rng(seed).random(count) < 0.7
    given_pool = Pool(
        probs=probabilities(count, seed=seed),
        embeddings=seen,
        labelled=embeddings(labels, seed=1),
        labels=np.arange(labels) % CLASSES,
        allowed=allowed,
    )
    choice = auto(given_pool, size, np.random.default_rng(seed))
    rows = choice.rows
    assert len(set(rows.tolist())) == len(rows) == min(size, int(allowed.sum())) == len(choice.by)
    assert allowed[rows].all()
    again = auto(given_pool, size, np.random.default_rng(seed))
    assert np.array_equal(rows, again.rows) and choice.by == again.by
