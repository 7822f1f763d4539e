import numpy as np
import pytest

from labeling.strategies.lookahead import (
    LIKELY,
    RIDGES,
    SHARPNESS,
    Ridge,
    errors_after,
    lookahead,
    trained,
)
from labeling.strategies.pool import Pool

CLASSES = 3


def refitted(points: np.ndarray, labels: np.ndarray, ridge: float, sharpness: float) -> Ridge:
    """A ridge head solved anew."""
    truth = np.eye(CLASSES)[labels] - 1 / CLASSES
    square = points.T @ points + ridge * np.eye(points.shape[1])
    inverse = np.linalg.inv(square)
    return Ridge(ridge, inverse, np.linalg.lstsq(square, points.T @ truth)[0], sharpness)


def groups(rows: int, seed: int = 0, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Three groups of points, one a class, that lie over each other a little."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=rows)
    return (np.eye(width)[labels] * 1.5 + rng.normal(size=(rows, width)) * 0.6), labels


def test_the_error_after_each_label_is_that_of_a_head_trained_anew() -> None:
    points, labels = groups(20)
    candidates, targets = groups(15, 1)[0], groups(30, 2)[0]
    head = trained(points, labels, CLASSES)
    assert head is not None
    chances = head.probs(candidates @ head.weights)
    assert LIKELY == CLASSES  # all are tried
    for number, error in enumerate(errors_after(head, candidates, targets)):
        expected = 0.0
        for name in range(CLASSES):
            more = np.vstack([points, candidates[number]]), np.append(labels, name)
            after = refitted(*more, head.ridge, head.sharpness)
            expected += chances[number, name] * after.error(targets)
        assert error == pytest.approx(expected, abs=1e-5)


def test_ridge_and_sharpness_are_the_best_by_heads_that_never_had_the_label() -> None:
    points, labels = groups(25, 3)
    head = trained(points, labels, CLASSES)
    assert head is not None
    likelihood = {}
    for ridge in RIDGES:
        for sharpness in SHARPNESS:
            logs = []
            for out in range(len(labels)):
                rest = np.delete(np.arange(len(labels)), out)
                other = refitted(points[rest], labels[rest], ridge, sharpness)
                logs.append(np.log(other.probs(points[out] @ other.weights)[labels[out]]))
            likelihood[ridge, sharpness] = np.mean(logs)
    assert (head.ridge, head.sharpness) == max(likelihood, key=lambda key: likelihood[key])


def pool_of(points: np.ndarray, labelled: int, labels: np.ndarray) -> Pool:
    probs = np.full((len(points) - labelled, CLASSES), 1 / CLASSES)
    return Pool(
        probs=probs, embeddings=points[labelled:].astype(np.float32),
        labelled=points[:labelled].astype(np.float32), labels=labels[:labelled],
    )  # fmt: skip


def test_the_first_is_the_one_of_the_least_expected_error_and_its_score_is_the_gain() -> None:
    points, labels = groups(80, 4)
    pool = pool_of(points, 20, labels)
    choice = lookahead(pool, 3, np.random.default_rng(0))
    assert pool.embeddings is not None
    assert pool.labelled is not None
    mean = pool.embeddings.mean(axis=0)
    length = np.sqrt(((pool.embeddings - mean) ** 2).sum(axis=1).mean())
    own, past = (
        np.hstack([(part - mean) / length, np.ones((len(part), 1))])
        for part in (pool.embeddings, pool.labelled)
    )
    head = trained(past, labels[:20], CLASSES)
    assert head is not None
    gains = head.error(own) - errors_after(head, own, own)
    assert choice.rows[0] == gains.argmax()
    assert choice.scores[0] == pytest.approx(gains.max(), rel=1e-3)
    assert (np.diff(choice.scores) <= 1e-9).all()


def test_copies_of_what_was_chosen_gain_what_it_leaves() -> None:
    points, labels = groups(40, 5)
    points[20:30], points[30:] = points[20], points[30]
    choice = lookahead(pool_of(points, 20, labels), 6, np.random.default_rng(0))
    assert {*(choice.rows[:5] < 10).tolist()} == {True, False}
    assert choice.scores[-1] < 0.5 * choice.scores[0]


def test_before_there_are_labels_the_variance_decides() -> None:
    points, labels = groups(60, 7)
    choice = lookahead(pool_of(points, 0, labels), 5, np.random.default_rng(0))
    assert len(set(choice.rows.tolist())) == 5
    assert (choice.scores > 0).all()


def test_what_is_being_asked_counts_as_known_in_its_place_alone() -> None:
    points, labels = groups(80, 8)
    first = lookahead(pool_of(points, 20, labels), 1, np.random.default_rng(0)).rows[0]
    again = np.vstack([points[:20], np.repeat(points[[20 + first]], 30, axis=0), points[20:]])
    known = np.concatenate([labels[:20], np.full(30, -1), labels[20:]])
    assert lookahead(pool_of(again, 50, known), 1, np.random.default_rng(0)).rows[0] != first


def test_without_what_it_needs_it_names_it() -> None:
    with pytest.raises(ValueError, match="needs probabilities and embeddings"):
        lookahead(Pool(probs=np.full((3, 2), 0.5)), 1, np.random.default_rng(0))
