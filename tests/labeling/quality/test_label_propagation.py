"""Labels spread to where their neighbours are, believed as far as they proved right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labeling.quality import label_propagation
from labeling.quality.label_propagation import linear_model, propagate


def blobs(
    count: int, *, classes: int = 4, width: int = 8, spread: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows around one centre a class, and their classes."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(classes, width))
    truth = rng.integers(classes, size=count)
    noise = spread * rng.normal(size=(count, width))
    return (centres[truth] + noise).astype(np.float32), truth


def rings(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two arms that wind into each other, lifted so that directions tell places."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=count)
    turn = rng.uniform(0, np.pi, count)
    x = np.where(truth, 1 - np.cos(turn), np.cos(turn))
    y = np.where(truth, 0.5 - np.sin(turn), np.sin(turn))
    bump = np.exp(-((x[:, None] - np.linspace(-1, 2, 8)) ** 2 + 0) / 0.2)
    tall = np.exp(-((y[:, None] - np.linspace(-0.5, 1, 8)) ** 2) / 0.1)
    return (bump[:, :, None] * tall[:, None, :]).reshape(count, -1).astype(np.float32), truth


def right(probs: np.ndarray, truth: np.ndarray) -> float:
    return float((probs.argmax(axis=1) == truth).mean())


def test_neighbours_tell_what_a_linear_model_cannot():
    rows, truth = rings(400)
    known = np.r_[np.flatnonzero(truth == 0)[:4], np.flatnonzero(truth == 1)[:4]]
    straight = linear_model(rows[known], truth[known], 2)(rows)
    assert right(propagate(rows, known, truth[known], 2), truth) > right(straight, truth) + 0.05


def test_a_linear_model_is_believed_where_neighbourhoods_say_nothing():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(800, 40)).astype(np.float32)
    truth = (rows[:, 0] + rows[:, 1] > 0).astype(int)
    known = np.arange(200)
    straight = linear_model(rows[known], truth[known], 2)(rows)
    assert right(propagate(rows, known, truth[known], 2), truth) > right(straight, truth) - 0.02


def test_a_confident_guess_is_right_as_often_as_it_says():
    rows, truth = blobs(3000, spread=3.5)
    probs = propagate(rows, np.arange(200), truth[:200], 4)[200:]
    said, is_right = probs.max(axis=1), probs.argmax(axis=1) == truth[200:]
    for low, high in ((0.5, 0.8), (0.8, 1.0)):
        among = (said >= low) & (said < high)
        assert among.sum() > 100
        assert abs(is_right[among].mean() - said[among].mean()) < 0.08


def test_labels_that_have_nothing_to_do_with_the_neighbourhood_make_nobody_sure():
    rows, _ = blobs(1000)
    labels = np.random.default_rng(1).integers(4, size=100)
    probs = propagate(rows, np.arange(100), labels, 4)
    assert (probs.max(axis=1) < 0.6).all()


def test_labels_the_network_learnt_from_do_not_show_how_far_to_believe():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(900, 8)).astype(np.float32), rng.integers(2, size=150)
    rows[:100, 0] += 20.0 * labels[:100]  # learnt by heart; the others lie anywhere
    rows[100:, 0] += 20.0 * rng.integers(2, size=800)
    unseen = np.arange(150) >= 100
    believed = propagate(rows, np.arange(150), labels, 2)[150:].max(axis=1)
    doubted = propagate(rows, np.arange(150), labels, 2, unseen=unseen)[150:].max(axis=1)
    assert doubted.mean() < 0.7 < believed.mean()


def test_a_class_nobody_labelled_gets_next_to_nothing():
    rows, truth = blobs(300)
    known = np.flatnonzero(truth < 2)[:40]
    probs = propagate(rows, known, truth[known], 6)
    assert (probs[:, 2:] < 0.02).all()


def test_of_more_samples_than_the_graph_takes_the_others_listen_to_it(monkeypatch):
    rows, truth = blobs(1500, spread=2.0)
    whole = propagate(rows, np.arange(40), truth[:40], 4)
    monkeypatch.setattr(label_propagation, "GRAPH_ROWS", 300)
    monkeypatch.setattr(label_propagation, "BLOCK", 4 * 300 * 64)
    part = propagate(rows, np.arange(40), truth[:40], 4)
    assert right(part, truth) > right(whole, truth) - 0.03


def test_the_blocks_make_no_difference(monkeypatch):
    rows, truth = blobs(400)
    once = propagate(rows, np.arange(30), truth[:30], 4)
    monkeypatch.setattr(label_propagation, "BLOCK", 4 * 400 * 7)
    monkeypatch.setattr(label_propagation, "COLUMNS", 3)
    assert np.allclose(propagate(rows, np.arange(30), truth[:30], 4), once, atol=1e-3)


@pytest.mark.parametrize("columns", [5, 64, 640, 2000, 2047])
def test_the_largest_are_found_exactly(columns):
    values = np.random.default_rng(0).normal(size=(20, columns)).astype(np.float32)
    found = np.take_along_axis(values, label_propagation._largest(values, 4), axis=1)
    assert np.array_equal(np.sort(found, axis=1), np.sort(values, axis=1)[:, -4:])


def test_the_equation_is_solved():
    rows, _ = blobs(80)
    graph = label_propagation.neighbour_graph(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    assert np.allclose(graph.toarray(), graph.toarray().T)
    given_ = np.random.default_rng(0).random((80, 3))
    found = label_propagation._solved(graph, given_)
    assert np.allclose(
        found - label_propagation.SPREAD * graph.toarray() @ found, given_, atol=1e-4
    )


@settings(max_examples=25, deadline=None)
@given(
    rows=hnp.arrays(np.float32, st.tuples(st.integers(1, 25), st.integers(1, 4)),
                    elements=st.sampled_from([-1.0, 0.0, 0.0, 0.5, 2.0])),
    known=st.integers(1, 25), classes=st.integers(1, 3), seed=st.integers(0, 9),
)  # fmt: skip
def test_whatever_comes_rows_are_probabilities_and_the_same_again(rows, known, classes, seed):
    rng = np.random.default_rng(seed)
    known = min(known, len(rows))
    which, labels = rng.permutation(len(rows))[:known], rng.integers(classes, size=known)
    before = rows.copy()
    rows.flags.writeable = False
    probs = propagate(rows, which, labels, classes)
    assert probs.shape == (len(rows), classes) and np.isfinite(probs).all() and (probs > 0).all()
    assert np.allclose(probs.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(propagate(rows, which, labels, classes), probs)
    assert np.array_equal(rows, before)


def test_of_copies_of_one_image_none_is_told_apart_from_the_others():
    rows = np.ones((50, 6), np.float32)
    probs = propagate(rows, np.arange(4), np.array([0, 0, 0, 1]), 2)
    assert (probs.argmax(axis=1)[4:] == 0).all() and (probs[4:] == probs[4]).all()


def test_labels_of_one_class_tell_nothing():
    rows, _ = blobs(40)
    assert np.allclose(propagate(rows, np.arange(9), np.full(9, 2), 4), 0.25)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": np.array([], int), "labels": np.array([], int)}, "nothing is labelled"),
        ({"rows": np.array([0, 0, 1])}, "labelled twice"),
        ({"rows": np.array([0, 1, 30])}, "there is no row 30; choose from 0 to 29"),
        ({"labels": np.array([0, 1, -1])}, "there is no class -1; choose from 0 to 3"),
        ({"labels": np.array([0, 1])}, r"labelled rows \(3,\) and labels \(2,\)"),
        ({"nan": 7}, "the embedding in row 7 is not finite"),
    ],
)
def test_what_cannot_be_propagated_is_refused(change, words):
    rows, _ = blobs(30)
    if "nan" in change:
        rows[change.pop("nan"), 2] = np.nan
    given_ = {"rows": np.arange(3), "labels": np.array([0, 1, 1])} | change
    with pytest.raises(ValueError, match=words):
        propagate(rows, given_["rows"], given_["labels"], 4)
