"""Pre-annotations are shown where they are likely right, and never on audit samples."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from labeling.batches.batch import Batch
from labeling.quality import pre_annotations
from labeling.quality.label_propagation import propagate
from labeling.quality.pre_annotations import SHOWN, pre_annotate, with_pre_annotations
from labeling.strategies.pool import Pool

CLASSES = ["cat", "dog"]


def sure(*confidences: float) -> np.ndarray:
    """A row for each: that sure of "cat"."""
    return np.array([[each, 1 - each] for each in confidences])


def test_a_first_guess_stands_only_where_it_is_confident_and_never_on_an_audit_sample():
    batch = Batch.of(["a", "b", "c"], reason=["margin", "audit", "margin"])
    probs = sure(0.79, 0.99, 0.1)
    shown = with_pre_annotations(batch, ["c", "b", "a"], probs, CLASSES, source="prop").rows
    assert SHOWN == 0.8
    assert shown["sample_id"].tolist() == ["a", "b", "c"]
    assert shown["pre_annotation"].fillna("").tolist() == ["dog", "", ""]
    assert shown.loc[0, ["confidence", "pre_annotation_model"]].to_numpy().tolist() == [0.9, "prop"]
    assert shown.loc[0, "probs"] == {"cat": 0.1, "dog": 0.9}
    assert shown.loc[1:, ["confidence", "pre_annotation_model", "probs"]].isna().all(axis=None)


def test_a_confidence_at_the_threshold_is_enough() -> None:
    batch = Batch.of(["a"], reason="margin")
    shown = with_pre_annotations(batch, ["a"], sure(SHOWN), CLASSES, source="prop").rows
    assert shown["pre_annotation"].tolist() == ["cat"]


def test_of_a_large_pool_an_even_choice_takes_part_beside_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    def count(embeddings: np.ndarray, *given: Any) -> np.ndarray:
        sizes.append(len(embeddings))
        return propagate(embeddings, *given)

    monkeypatch.setattr(pre_annotations, "GRAPH_ROWS", 10)
    monkeypatch.setattr(pre_annotations, "propagate", count)
    rows = np.random.default_rng(0).normal(size=(102, 4)).astype(np.float32)
    seen = Pool(embeddings=rows[2:], labelled=rows[:2], labels=np.array([0, 1]))
    names = [f"s{number:03d}" for number in range(100)]
    batch = Batch.of(["s001", "s002"], reason="margin")
    pre_annotate(batch, names, seen, CLASSES, source="features")
    assert sizes == [2 + 10 + 2]  # labelled, the even choice (of rows 0, 11, 22, ...), the batch


def test_the_labels_guess_a_batch_and_audit_samples_stay_without():
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=300)
    rows = (5 * rng.normal(size=(2, 6))[truth] + rng.normal(size=(300, 6))).astype(np.float32)
    labels = np.where(np.arange(60) < 50, truth[:60], -1)  # the others are being asked about
    seen = Pool(embeddings=rows[60:], labelled=rows[:60], labels=labels)
    names = [f"s{number:03d}" for number in range(240)]
    batch = Batch.of(names[5:25], reason=["audit", *["margin"] * 19])
    shown = pre_annotate(batch, names, seen, CLASSES, source="features").rows
    assert shown["sample_id"].tolist() == names[5:25] and pd.isna(shown["pre_annotation"][0])
    assert shown["pre_annotation"][1:].tolist() == [CLASSES[number] for number in truth[66:85]]
    assert set(shown["pre_annotation_model"].dropna()) == {"propagation-2, features"}


def test_before_the_first_label_a_batch_has_columns_for_guesses_and_none_in_them():
    seen = Pool(embeddings=np.ones((2, 3)), labelled=np.ones((1, 3)), labels=np.array([-1]))
    batch = Batch.of(["a"], reason="margin")
    shown = pre_annotate(batch, ["a", "b"], seen, CLASSES, source="features").rows
    assert (
        shown[["pre_annotation", "confidence", "pre_annotation_model", "probs"]]
        .isna()
        .all(axis=None)
    )
    with pytest.raises(ValueError, match="labels spread over embeddings"):
        pre_annotate(batch, ["a", "b"], Pool(probs=np.ones((2, 1))), CLASSES, source="x")


def test_probabilities_that_do_not_fit_are_refused() -> None:
    batch = Batch.of(["a", "b"], reason="margin")
    with pytest.raises(ValueError, match=r"shape \(1, 2\) for 2 samples and 2 classes"):
        with_pre_annotations(batch, ["a", "b"], sure(0.9), CLASSES, source="prop")
