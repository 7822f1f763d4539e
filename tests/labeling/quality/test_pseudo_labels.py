"""Guesses are shown where they are likely right, and trained on by policy; never audit samples."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.rows import records
from labeling.batches.batch import Batch
from labeling.quality import pseudo_labels
from labeling.quality.label_propagation import propagate
from labeling.quality.pseudo_labels import (
    SHOWN,
    SoftPolicy,
    head_with_and_without,
    pre_annotate,
    pseudo_label_rows,
    with_pre_annotations,
)
from labeling.snapshots.table import SOFT_COLUMNS
from labeling.strategies.pool import Pool

CLASSES = ["cat", "dog"]
NAMES = [f"s{number:03d}" for number in range(200)]


def sure(*confidences: float) -> np.ndarray:
    """A row for each: that sure of "cat"."""
    return np.array([[each, 1 - each] for each in confidences])


def soft(names: list[str], probs: np.ndarray, labels: list[str], **policy: Any) -> pd.DataFrame:
    return pseudo_label_rows(names, probs, CLASSES, labels, SoftPolicy(**policy), source="here")


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
    names = NAMES[:2]
    rows = soft(names, sure(0.9, 0.89999), ["cat"], least_confidence=0.9)
    assert rows["sample_id"].tolist() == names[:1]


def test_who_is_trained_on_among_the_confident_does_not_depend_on_confidence() -> None:
    names = NAMES[:100]
    rising, falling = np.linspace(0.91, 0.99, 100), np.linspace(0.99, 0.91, 100)
    drawn = [soft(names, sure(*each), ["cat"] * 4, share=2.0) for each in (rising, falling)]
    assert len(drawn[0]) == 8
    assert drawn[0]["sample_id"].tolist() == drawn[1]["sample_id"].tolist()


def test_of_a_large_pool_an_even_choice_takes_part_beside_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    def count(embeddings: np.ndarray, *given: Any) -> np.ndarray:
        sizes.append(len(embeddings))
        return propagate(embeddings, *given)

    monkeypatch.setattr(pseudo_labels, "GRAPH_ROWS", 10)
    monkeypatch.setattr(pseudo_labels, "propagate", count)
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


def test_a_soft_row_says_what_was_guessed_how_surely_and_by_what():
    names = NAMES[:2]
    rows = soft(names, sure(0.97, 0.4), ["cat"])
    assert rows.columns.tolist() == SOFT_COLUMNS and len(rows) == 1
    assert rows.loc[0, ["sample_id", "label", "trust", "source"]].to_numpy().tolist() == [
        names[0], "cat", 0.97, "here",
    ]  # fmt: skip
    assert json.loads(rows["probs"][0]) == {"cat": 0.97, "dog": 0.03}


def test_only_guesses_that_are_kept_are_written_out(monkeypatch):
    probs = np.random.default_rng(0).dirichlet([0.2, 0.2], len(NAMES)).astype(np.float32)
    at_once = soft(NAMES, probs, ["cat", "dog"] * 3, least_confidence=0.5)
    written: list[object] = []
    dumps = json.dumps

    def observed(row: object) -> str:
        written.append(row)
        return dumps(row)

    monkeypatch.setattr(json, "dumps", observed)
    monkeypatch.setattr(pseudo_labels, "_AT_ONCE", 7)
    rows = soft(NAMES, probs, ["cat", "dog"] * 3, least_confidence=0.5)
    pd.testing.assert_frame_equal(rows, at_once)
    assert len(written) == len(rows) == 18  # the share of six labels; the pool is 200
    for row in records(rows):
        expected = [round(float(one), 5) for one in probs[NAMES.index(row["sample_id"])]]
        assert json.loads(row["probs"]) == dict(zip(CLASSES, expected, strict=True))
        best = max(expected)
        assert (row["label"], row["trust"]) == (CLASSES[expected.index(best)], best)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=200),
    st.integers(0, 20), st.integers(0, 20), st.floats(0.5, 1), st.floats(0.1, 5),
)  # fmt: skip
def test_no_class_has_more_guesses_than_its_share_and_none_is_in_doubt(
    drawn, cats, dogs, least, share
):
    names = NAMES[: len(drawn)]
    labels = ["cat"] * cats + ["dog"] * dogs
    rows = soft(names, sure(*drawn), labels, least_confidence=least, share=share)
    counts = rows["label"].value_counts()
    assert counts.get("cat", 0) <= np.ceil(share * cats)
    assert counts.get("dog", 0) <= np.ceil(share * dogs)
    assert (rows["trust"] >= least).all()
    turned = soft(names[::-1], sure(*drawn)[::-1], labels, least_confidence=least, share=share)
    pd.testing.assert_frame_equal(turned, rows)


def test_guesses_that_are_right_help_and_those_that_are_wrong_hurt():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=900)
    rows = rng.normal(size=(3, 12))[truth] + 1.7 * rng.normal(size=(900, 12))
    probs = np.eye(3)[truth[20:400]]

    def accuracy(told: np.ndarray) -> tuple[float, float]:
        found = head_with_and_without(
            rows[:20], truth[:20], rows[20:400], told, np.full(380, 0.5), test=rows[400:]
        )
        with_them, without = (float((each.argmax(axis=1) == truth[400:]).mean()) for each in found)
        return with_them, without

    helped, alone = accuracy(probs)
    hurt, same = accuracy(np.roll(probs, 1, axis=1))
    assert helped > alone + 0.05 and hurt < alone - 0.2 and same == alone


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"least_confidence": 0}, "least_confidence is 0; choose"),
        ({"share": 0}, "share is 0; choose"),
        ({"share": float("inf")}, "share is inf; choose"),
        ({"min_audit": 0}, "min_audit is 0; choose"),
        ({"alpha": 0.5}, "alpha is 0.5; choose"),
    ],
)
def test_a_bad_value_is_refused_with_its_name(given_, words):
    with pytest.raises(ValueError, match=words):
        SoftPolicy(**given_)


def test_probabilities_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 2\) for 2 samples and 2 classes"):
        soft(["a", "b"], sure(0.9), ["cat"])
