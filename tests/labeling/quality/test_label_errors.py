from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from labeling.quality.label_errors import COLUMNS, find_label_errors, out_of_fold_probs

CLASSES = ["cat", "dog", "fox"]


def clouds(rows: int = 150, seed: int = 0) -> tuple[np.ndarray, list[str], list[str]]:
    """Embeddings in three clouds with their classes, and a name for each row."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(rows) % 3
    centres = 4 * np.eye(3, 8)
    seen = (centres[numbers] + rng.normal(size=(rows, 8))).astype(np.float32)
    return seen, [CLASSES[n] for n in numbers], [f"s{n:03d}" for n in range(rows)]


def test_planted_errors_are_the_least_trusted() -> None:
    seen, labels, names = clouds()
    for row in (7, 40, 99):
        labels[row] = CLASSES[(CLASSES.index(labels[row]) + 1) % 3]
    found = find_label_errors(
        names, labels, out_of_fold_probs(seen, labels, names, seed=0), limit=3
    )
    assert list(found.columns) == COLUMNS
    assert set(found["sample_id"]) == {"s007", "s040", "s099"}
    assert found["trust"].is_monotonic_increasing
    assert found["trust"].between(0, 0.5).all()
    right = {name: CLASSES[row % 3] for row, name in enumerate(names)}
    assert found["suggested"].tolist() == [right[name] for name in found["sample_id"]]
    assert (found["suggested"] != found["label"]).all()


def test_at_most_so_many_errors_are_named_and_trust_is_what_the_model_believes() -> None:
    seen, labels, names = clouds()
    for row in (7, 40, 99):
        labels[row] = CLASSES[(CLASSES.index(labels[row]) + 1) % 3]
    probs = out_of_fold_probs(seen, labels, names, seed=0)
    errors, first = (find_label_errors(names, labels, probs, limit=limit) for limit in (150, 2))
    assert len(errors) >= 3
    pd.testing.assert_frame_equal(first, errors.head(2))
    believed = [
        probs[label][names.index(name)]
        for name, label in zip(errors["sample_id"], errors["label"], strict=True)
    ]
    assert errors["trust"].tolist() == pytest.approx(believed)


def test_probabilities_have_a_column_a_class_and_sum_to_one() -> None:
    seen, labels, names = clouds()
    probs = out_of_fold_probs(seen, labels, names, seed=0)
    assert list(probs.columns) == CLASSES
    assert np.allclose(probs.sum(axis=1), 1)


def test_the_same_seed_gives_the_same_suspects() -> None:
    seen, labels, names = clouds()
    labels[5] = "fox" if labels[5] != "fox" else "cat"
    first, second = (
        find_label_errors(names, labels, out_of_fold_probs(seen, labels, names, seed=3), limit=50)
        for _ in range(2)
    )
    pd.testing.assert_frame_equal(first, second)


def test_no_row_is_judged_by_its_own_copy() -> None:
    seen, labels, names = clouds()
    seen = np.concatenate([seen, seen[:1], seen[:1]])
    wrong = "dog" if labels[0] != "dog" else "fox"
    labels = [wrong, *labels[1:], wrong, wrong]
    apart = out_of_fold_probs(seen, labels, [*names, "s900", "s901"], seed=0)
    together = out_of_fold_probs(seen, labels, [*names, "s000", "s000"], seed=0)
    assert together[wrong][0] < apart[wrong][0]


def test_a_class_in_fewer_groups_than_folds_is_neither_judged_nor_suggested() -> None:
    seen, labels, names = clouds()
    labels[:6] = ["owl"] * 6
    groups = ["g", "g", "g", *names[3:]]  # six rows of owls, but only four different ones
    probs = out_of_fold_probs(seen, labels, groups, seed=0)
    assert list(probs.columns) == CLASSES
    assert probs.isna().any(axis=1).tolist() == [True] * 6 + [False] * 144
    found = find_label_errors(names, labels, probs, limit=150)
    assert not {"owl"} & {*found["label"], *found["suggested"]}
    assert "owl" in out_of_fold_probs(seen, labels, groups, seed=0, folds=4).columns


def test_labels_that_fit_their_images_are_not_suspected() -> None:
    seen, labels, names = clouds()
    assert find_label_errors(
        names, labels, out_of_fold_probs(10 * seen, labels, names, seed=0), limit=9
    ).empty


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s, y, g: (np.where(s > 4, np.nan, s), y, g), r"of \d+ samples are not finite"),
        (lambda s, y, g: (s, ["cat"] * len(y), g), "every label is 'cat'.*second class"),
        (lambda s, y, g: (s[:4], y[:4], g[:4]), "4 labelled samples cannot be put into 5 folds"),
        (lambda s, y, g: (s, y[:-1], g), "149 labels and 150 groups"),
        (lambda s, y, g: (s, y, ["one"] * len(y)), "0 of 3 classes have 5 different samples"),
        (lambda s, y, g: (s[:0], [], []), "0 labelled samples"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_remedy(change: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        out_of_fold_probs(*change(*clouds()), seed=0)


def test_samples_and_probabilities_must_belong_together() -> None:
    seen, labels, names = clouds()
    probs = out_of_fold_probs(seen, labels, names, seed=0)
    with pytest.raises(ValueError, match="149 samples and 150 rows"):
        find_label_errors(names[:-1], labels[:-1], probs, limit=5)
    with pytest.raises(ValueError, match="label 'owl' has no column"):
        find_label_errors(names, ["owl", *labels[1:]], probs, limit=5)
