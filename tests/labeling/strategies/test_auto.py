import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from labeling.quality.linear_head import fit_head
from labeling.strategies.auto import CANDIDATES, LEAST_PART, Plan, auto, evenness, plan
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
    alike = Pool(None, embeddings(50), None, embeddings(4), np.zeros(4, int))
    assert "(4 labels of one class: images" in str(plan(alike, 5, np.random.default_rng(0)))
    several = Pool(None, embeddings(50), None, embeddings(4), np.arange(4))
    assert "(no predictions: images" in str(plan(several, 5, np.random.default_rng(0)))


def test_without_embeddings_doubt_alone_decides() -> None:
    blind = Pool(probs=probabilities(50))
    assert plan(blind, 5, np.random.default_rng(0)).parts == {"margin": 1.0}
    assert usable("auto", blind)[0] == "margin"  # the batch names it, not `auto`


def test_with_nothing_to_see_chance_decides_and_is_called_by_its_name() -> None:
    blind = Pool(allowed=np.arange(30) < 20)
    assert set(auto(blind, 20, np.random.default_rng(0)).rows.tolist()) == set(range(20))
    assert usable("auto", blind)[0] == "random"  # whose draws are recorded with their odds


def test_who_shares_the_batch_has_a_part_worth_having_and_every_row_has_one_who_wanted_it() -> None:
    decided_on = plan(pool(labels=40), 60, np.random.default_rng(0))
    assert sum(decided_on.parts.values()) == pytest.approx(1)
    assert min(decided_on.parts.values()) >= LEAST_PART
    choice = auto(pool(labels=40), 60, np.random.default_rng(0))
    for name, part in decided_on.parts.items():
        assert choice.by.count(name) == pytest.approx(60 * part, abs=1)
        assert choice.by[:20].count(name) == pytest.approx(20 * part, abs=2)  # from the start on


def test_the_reason_names_the_parts_the_labels_and_what_each_candidate_is_worth() -> None:
    why = auto(pool(labels=40), 20, np.random.default_rng(0)).why
    assert "by 40 labels" in why
    for name in CANDIDATES:
        assert name in why


def test_a_pool_that_is_asked_whole_is_not_judged() -> None:
    assert "the whole pool" in plan(pool(20, labels=40), 20, np.random.default_rng(0)).why


def planted(points: np.ndarray, classes: np.ndarray, known: np.ndarray) -> tuple[Pool, np.ndarray]:
    """The pool that is left beside the labels of `known`, by a head of them; and its classes."""
    free = np.setdiff1d(np.arange(len(points)), known)
    truth = np.eye(classes.max() + 1)
    probs = fit_head(points[known], truth[classes[known]]).probs(points[free])
    return Pool(probs, points[free], None, points[known], classes[known]), classes[free]


def balanced_accuracy(pool: Pool, classes: np.ndarray, name: str) -> float:
    """That of a head after the batch of this strategy."""
    assert pool.embeddings is not None and pool.labelled is not None and pool.labels is not None
    rows = CANDIDATES[name](pool, 30, np.random.default_rng(0)).rows
    points = np.concatenate([pool.labelled, pool.embeddings[rows]])
    labels = np.concatenate([pool.labels, classes[rows]])
    right = fit_head(points, np.eye(classes.max() + 1)[labels]).probs(pool.embeddings).argmax(1)
    each = [(right == classes)[classes == one].mean() for one in np.unique(classes)]
    return float(np.mean(each))


def of_groups(seed: int) -> tuple[Pool, np.ndarray]:
    """Tight groups of one class each, and labels of a quarter of them: whole groups are unknown."""
    rng = np.random.default_rng(seed)
    group = rng.integers(24, size=600)
    points = rng.normal(size=(24, 24))[group] + 0.25 * rng.normal(size=(600, 24))
    return planted(points.astype(np.float32), group % 3, np.flatnonzero(group < 6)[:12])


def of_a_long_tail(seed: int) -> tuple[Pool, np.ndarray]:
    """Six wide classes, each a third as common as the one before, and 60 labels drawn at random."""
    rng = np.random.default_rng(seed)
    shares = 0.35 ** np.arange(6)
    classes = rng.choice(6, size=1_500, p=shares / shares.sum())
    points = (rng.normal(size=(6, 16))[classes] + rng.normal(size=(1_500, 16))) / 6
    return planted(points.astype(np.float32), classes, rng.permutation(1_500)[:60])


def decided(pool: Pool) -> Plan:
    return plan(pool, 30, np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(2))
def test_where_whole_groups_are_unknown_they_are_covered_and_margins_get_nothing(seed: int) -> None:
    pool, classes = of_groups(seed)
    covered = balanced_accuracy(pool, classes, "uncertainty_coverage")
    assert covered > balanced_accuracy(pool, classes, "margin") + 0.1  # as the pool was planted
    parts = decided(pool).parts
    assert "margin" not in parts
    assert next(iter(parts)) == "uncertainty_coverage"


def test_in_a_long_tail_the_strategies_that_seek_rare_classes_get_the_most() -> None:
    parts = []
    for seed in range(4):
        pool, classes = of_a_long_tail(seed)
        rare = balanced_accuracy(pool, classes, "rare_uncertainty_coverage")
        assert rare > balanced_accuracy(pool, classes, "uncertainty_coverage")  # as planted
        shared = decided(pool).parts
        parts.append(sum(part for name, part in shared.items() if name.startswith("rare")))
        assert parts[-1] > shared.get("uncertainty_coverage", 0) + shared.get("bait", 0)
    assert np.mean(parts) > 0.6


def test_all_classes_alike_are_even_and_one_alone_is_not() -> None:
    assert evenness(np.full((10, CLASSES), 1 / CLASSES)) == pytest.approx(1)
    assert evenness(np.eye(CLASSES)[np.zeros(10, int)]) == pytest.approx(1 / CLASSES)


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
