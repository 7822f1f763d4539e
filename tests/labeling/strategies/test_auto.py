import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from labeling.strategies.auto import MIN_EVENNESS, REDUNDANT, auto, copied_share, evenness, rule
from labeling.strategies.pool import Pool

CLASSES = 4


def embeddings(count: int, *, seed: int = 0, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def probabilities(count: int, *, shares: list[float] | None = None, seed: int = 0) -> np.ndarray:
    weights = np.array(shares or [1.0] * CLASSES)
    return np.random.default_rng(seed).dirichlet(4 * weights / weights.sum(), size=count)


def pool(count: int = 200, *, labels: int = 0, shares: list[float] | None = None) -> Pool:
    return Pool(
        probs=probabilities(count, shares=shares),
        embeddings=embeddings(count),
        labelled=embeddings(labels, seed=1),
        labels=np.arange(labels) % CLASSES,
    )


def test_few_labels_ask_for_doubt_that_stands_for_much() -> None:
    assert rule(pool(labels=8)).strategy == "uncertainty_coverage"


def test_many_labels_are_trusted() -> None:
    assert rule(pool(labels=400)).regime == "many labels"


def test_uneven_predictions_make_it_a_long_tail_once_there_are_labels_to_believe() -> None:
    uneven = [100.0, 3.0, 1.0, 1.0]
    assert rule(pool(labels=40, shares=uneven)).regime == "long tail"
    assert rule(pool(labels=4, shares=uneven)).regime == "few labels"


def test_predictions_are_trusted_from_100_labels_a_class_on() -> None:
    assert rule(pool(labels=100 * CLASSES - 1)).regime == "few labels"
    assert rule(pool(labels=100 * CLASSES)).regime == "many labels"


def test_a_long_tail_is_believed_from_5_labels_a_class_on() -> None:
    uneven = [100.0, 3.0, 1.0, 1.0]
    assert rule(pool(labels=5 * CLASSES - 1, shares=uneven)).regime == "few labels"
    assert rule(pool(labels=5 * CLASSES, shares=uneven)).regime == "long tail"


@pytest.mark.parametrize(
    ("shares", "effective", "regime"),
    [([0.66, 0.2, 0.1, 0.04], 0.65, "long tail"), ([0.57, 0.23, 0.13, 0.07], 0.7612, "few labels"),
     ([0.58, 0.23, 0.13, 0.06], 0.7425, "long tail")],
)  # fmt: skip
def test_classes_are_uneven_below_three_quarters_of_their_number(
    shares: list[float], effective: float, regime: str
) -> None:
    seen = pool(labels=40)
    uneven = Pool(np.tile(shares, (200, 1)), seen.embeddings, None, seen.labelled, seen.labels)
    assert evenness(uneven) == pytest.approx(effective, abs=0.01)
    assert rule(uneven).regime == regime


@pytest.mark.parametrize(("pairs", "regime"), [(9, "few labels"), (10, "redundant")])
def test_a_pool_is_redundant_from_a_tenth_of_copies_on(pairs: int, regime: str) -> None:
    seen = embeddings(200)
    seen[100 : 100 + pairs] = seen[:pairs]  # both of a pair have a near copy
    assert rule(Pool(probs=probabilities(200), embeddings=seen)).regime == regime


@pytest.mark.parametrize(("apart", "share"), [(0.14, 1.0), (0.16, 0.0)])
def test_copies_are_closer_than_0_15_of_the_median_distance(apart: float, share: float) -> None:
    corners = 10 * np.eye(100, dtype=np.float32)  # all at the same distance from each other
    near = corners.copy()
    near[:, 0] += apart * np.sqrt(200)
    assert copied_share(np.concatenate([corners, near]), np.arange(200)) == share


def test_at_most_256_samples_are_compared() -> None:
    seen = embeddings(512)
    seen[1::4] = seen[3::4]  # copies stand at odd places, and every second sample is compared
    assert copied_share(seen, np.arange(512)) == 0
    assert copied_share(seen[:256], np.arange(256)) == 0.5


def test_among_50_000_samples_copies_are_sought_everywhere_and_among_more_in_even_steps() -> None:
    count = 50_000
    points = embeddings(count + 1, width=32)
    points[1::2] = points[0:count:2]  # each odd row is a copy of the one before
    assert copied_share(points[:count], np.arange(count)) == 1
    assert copied_share(points, np.arange(count + 1)) == 0


def test_a_long_tail_among_copies_is_a_long_tail() -> None:
    seen = pool(labels=40, shares=[100.0, 3.0, 1.0, 1.0])
    copies = np.repeat(embeddings(20), 10, axis=0)
    assert rule(Pool(seen.probs, copies, None, seen.labelled, seen.labels)).regime == "long tail"


def test_the_rule_looks_only_at_samples_that_may_be_chosen() -> None:
    even, uneven = np.full((100, CLASSES), 1 / CLASSES), np.tile([1.0, 0, 0, 0], (100, 1))
    once, labels = embeddings(100), np.arange(40) % CLASSES
    beside = Pool(
        probs=np.concatenate([even, uneven]),
        embeddings=np.concatenate([once, once]),
        labelled=embeddings(40, seed=1),
        labels=labels,
        allowed=np.arange(200) < 100,
    )
    assert rule(beside).regime == "few labels"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("allowed", [0, 1])
def test_with_one_sample_left_or_none_nothing_is_copied_and_nothing_uneven(allowed: int) -> None:
    seen = pool(5, labels=40)
    even = np.full((5, CLASSES), 1 / CLASSES)
    left = Pool(even, seen.embeddings, None, seen.labelled, seen.labels, np.arange(5) < allowed)
    assert copied_share(embeddings(5), left.free) == 0
    assert rule(left).strategy == "uncertainty_coverage"


def test_labels_that_are_not_known_yet_do_not_count() -> None:
    seen = pool(labels=400)
    asked = Pool(seen.probs, seen.embeddings, None, seen.labelled, np.full(400, -1))
    assert rule(asked).regime == "few labels"


def test_copies_are_seen_and_said() -> None:
    once = embeddings(100)
    near = np.repeat(once, 5, axis=0) + 1e-3 * embeddings(500, seed=2)
    found = rule(Pool(probs=probabilities(500), embeddings=near))
    assert found.regime == "redundant"
    assert "100% of the samples have a near copy" in found.why


def test_samples_of_their_own_are_no_copies() -> None:
    assert copied_share(embeddings(500), np.arange(500)) < REDUNDANT


def test_a_pool_of_one_sample_over_and_over_is_all_copies() -> None:
    assert copied_share(np.ones((50, 8), np.float32), np.arange(50)) == 1


def test_only_rows_that_may_be_chosen_are_looked_at() -> None:
    once = embeddings(100)
    twice = np.concatenate([once, once])
    assert copied_share(twice, np.arange(100)) < REDUNDANT


def test_all_classes_alike_are_even_and_one_alone_is_not() -> None:
    assert evenness(Pool(probs=np.full((10, CLASSES), 1 / CLASSES))) == pytest.approx(1)
    assert evenness(Pool(probs=np.eye(CLASSES)[np.zeros(10, int)])) < MIN_EVENNESS


def test_without_predictions_what_stands_for_most_is_asked() -> None:
    assert rule(Pool(embeddings=embeddings(50))).strategy == "max_herding"


def test_without_embeddings_doubt_alone_decides() -> None:
    assert rule(Pool(probs=probabilities(50))).strategy == "margin"


def test_with_nothing_to_see_chance_decides() -> None:
    blind = Pool(allowed=np.arange(30) < 20)
    assert rule(blind).strategy == "random"
    assert set(auto(blind, 20, np.random.default_rng(0)).rows.tolist()) == set(range(20))


def test_the_reason_is_one_sentence_with_what_was_seen() -> None:
    assert rule(pool(labels=12)).why.startswith("12 labels for 4 classes")


@settings(max_examples=40, deadline=None)
@given(
    count=some.integers(1, 60),
    size=some.integers(0, 70),
    labels=some.sampled_from([0, 3, 30, 200]),
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
    rows = auto(given_pool, size, np.random.default_rng(seed)).rows
    assert len(set(rows.tolist())) == len(rows) == min(size, int(allowed.sum()))
    assert allowed[rows].all()
    again = auto(given_pool, size, np.random.default_rng(seed)).rows
    assert np.array_equal(rows, again)
