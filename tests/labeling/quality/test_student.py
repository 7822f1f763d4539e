"""The pool teaches where held-out labels show it, and changes nothing where they do not."""

import numpy as np
import pytest

from labeling.quality import student as module
from labeling.quality.linear_head import fit_head
from labeling.quality.student import Student, reduced, student


def clusters(shares: list[float], *, rows: int = 900, seed: int = 0, spread: float = 1.0):
    """Unit features of several clusters a class, and the class of each."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(shares), size=rows, p=shares)
    centres = 2 * rng.normal(size=(len(shares), 3, 20))
    rows_ = centres[truth, rng.integers(3, size=rows)] + spread * rng.normal(size=(rows, 20))
    return (rows_ / np.linalg.norm(rows_, axis=1, keepdims=True)).astype(np.float32), truth


def right(made: Student, features: np.ndarray, truth: np.ndarray) -> float:
    return float((made.head.probs(features).argmax(axis=1) == truth).mean())


def plain(features: np.ndarray, truth: np.ndarray, rows: np.ndarray, classes: int) -> float:
    head = fit_head(features[rows], np.eye(classes)[truth[rows]])
    return float((head.probs(features).argmax(axis=1) == truth).mean())


def test_a_pool_of_clusters_teaches_what_few_labels_do_not() -> None:
    features, truth = clusters([0.25] * 4, spread=1.5)
    rows = np.arange(16)
    made = student(features, rows, truth[rows], 4)
    assert made.helps and made.gain > 0
    assert right(made, features, truth) > plain(features, truth, rows, 4) + 0.05
    assert np.allclose(made.probs.sum(axis=1), 1, atol=1e-3)
    assert made.trust.min() >= 0 and made.trust.max() <= 1
    sure = made.trust > np.quantile(made.trust, 0.7)
    hit = made.probs.argmax(axis=1) == truth
    assert hit[sure].mean() > hit[~sure].mean(), "what is trusted is right more often"


def test_shares_that_are_not_even_are_not_made_even() -> None:
    features, truth = clusters([0.9, 0.1])
    rows = np.arange(60)
    made = student(features, rows, truth[rows], 2)
    assert made.evenness < 1
    assert right(made, features, truth) > plain(features, truth, rows, 2) - 0.01


def test_where_neighbours_say_nothing_the_plain_head_remains() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(600, 60)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    truth = (features @ rng.normal(size=(60, 2))).argmax(axis=1)
    rows = np.arange(150)
    made = student(features, rows, truth[rows], 2)
    assert right(made, features, truth) > plain(features, truth, rows, 2) - 0.01
    if not made.helps:
        assert np.allclose(made.head.probs(features), made.probs) and not made.trust.any()


@pytest.mark.parametrize(("rows", "words"), [(9, "9 labels of"), (40, "of 1 classes")])
def test_too_few_labels_show_nothing(rows: int, words: str) -> None:
    features, truth = clusters([0.5, 0.5])
    labels = truth[:rows] if rows == 9 else np.zeros(rows, int)
    made = student(features, np.arange(rows), labels, 2)
    assert not made.helps and words in made.why


def test_the_same_labels_and_pool_make_the_same_head() -> None:
    features, truth = clusters([0.25] * 4, rows=400)
    made = [student(features, np.arange(30), truth[:30], 4) for _ in range(2)]
    assert np.array_equal(made[0].head.weights, made[1].head.weights)
    graph = module.pool_graph(features)
    shared = student(features, np.arange(30), truth[:30], 4, graph=graph)
    assert np.array_equal(made[0].probs, shared.probs)


def test_the_head_learns_from_a_bounded_part_of_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    features, truth = clusters([0.25] * 4)
    sizes: list[int] = []

    def count(rows: np.ndarray, *given: object, **named: object) -> object:
        sizes.append(len(rows))
        return fit_head(rows, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "HEAD_ROWS", 100)
    monkeypatch.setattr(module, "fit_head", count)
    assert student(features, np.arange(40), truth[:40], 4).helps
    assert max(sizes) == 140


def test_a_temperature_makes_no_difference_to_what_is_compared() -> None:
    """Held-out labels are not likelier because the probabilities are sharper."""
    labels = np.array([0, 1, 0, 1, 0, 1])
    logs = np.log(
        np.array([[0.6, 0.4], [0.4, 0.6], [0.55, 0.45], [0.3, 0.7], [0.4, 0.6], [0.5, 0.5]])
    )
    assert module._likelihood(logs, labels) == pytest.approx(
        module._likelihood(2 * logs, labels), abs=1e-3
    )


def test_features_have_length_one_and_few_directions() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 300)) * np.linspace(1, 50, 300) + 7
    made = reduced(rows)
    assert made.shape == (500, 256) and np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-4)
    assert reduced(np.ones((3, 4))).shape == (3, 4), "no direction, and no division by zero"
