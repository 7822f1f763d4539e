import numpy as np
import pandas as pd
import pytest

from labeling.batches.batch import BATCH, PRE_ANNOTATIONS, Batch
from labeling.batches.candidates import CANDIDATES, candidates_of

SURE = pd.DataFrame(
    {
        "sample_id": ["b"],
        "pre_annotation": ["cat"],
        "confidence": [0.9],
        "pre_annotation_model": ["m1"],
        "probs": [{"cat": 0.9, "dog": 0.1}],
    }
)


def test_a_batch_has_every_column_from_the_start() -> None:
    batch = Batch.of(["a", "b"], reason=["audit", "margin"], score=[np.nan, 0.5])
    assert list(batch.rows) == list(BATCH.columns)
    assert batch.sample_ids == ["a", "b"] and len(batch) == 2
    assert batch.rows["position"].tolist() == [0, 1]
    assert batch.rows["required_annotators"].tolist() == [1, 1]
    assert not batch.rows["blind"].any()
    assert batch.rows[["pre_annotation", "confidence", "probs"]].isna().all(axis=None)
    assert list(Batch.of([], reason="audit").rows) == list(BATCH.columns)


def test_a_batch_with_a_column_of_its_own_or_a_sample_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'batch' has truth, not declared"):
        Batch.of(["a"], reason="margin", truth="cat")
    with pytest.raises(ValueError, match=r"two rows with the key .*'a'"):
        Batch.of(["a", "a"], reason="margin")


def test_pre_annotations_go_to_their_samples_and_replace_others() -> None:
    batch = Batch.of(["a", "b"], reason="margin").with_pre_annotations(SURE)
    assert batch.rows["pre_annotation"].fillna("").tolist() == ["", "cat"]
    assert batch.rows.loc[1, "probs"] == {"cat": 0.9, "dog": 0.1}
    assert batch.sample_ids == ["a", "b"]
    none_left = batch.with_pre_annotations(PRE_ANNOTATIONS.empty())
    assert none_left.rows["pre_annotation"].isna().all()


def test_a_batch_is_followed_by_another_in_its_order() -> None:
    both = Batch.of(["b"], reason="margin").followed_by(Batch.of(["a"], reason="relabel"))
    assert both.sample_ids == ["b", "a"]
    assert both.rows["position"].tolist() == [0, 1]
    empty = Batch.of([], reason="relabel")
    pd.testing.assert_frame_equal(both.followed_by(empty).rows, both.rows)


def test_candidates_have_what_a_choice_may_depend_on() -> None:
    pool = pd.DataFrame(
        {
            "sample_id": ["a", "b"],
            "group_id": ["g1", "g2"],
            "origin": "ingest",
            "source": "here",
            "added_at": "2026-01-01",
            "shard": "s.tar",
        }
    )
    table = candidates_of(pool)
    assert list(table) == list(CANDIDATES.columns)
    with pytest.raises(KeyError, match="added_at"):
        candidates_of(pool.drop(columns="added_at"))
