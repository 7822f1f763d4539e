import numpy as np
import pandas as pd

from labeling.batches import relabel as module
from labeling.batches.relabel import relabel_candidates


def crowd(wrong: int, *, seed: int = 0) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Sixty samples of two clear classes, each answered by one person; some labels are wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(60) % 2
    embeddings = (rng.normal(size=(60, 64)) * 0.3 + 4 * truth[:, None]).astype(np.float32)
    said = np.where(np.arange(60) < wrong, 1 - truth, truth)
    names = np.array(["cat", "dog"], dtype=object)
    ids = [f"s{row:02}" for row in range(60)]
    labelled = pd.DataFrame({"sample_id": ids, "label": names[said], "group_id": ids})
    given = pd.DataFrame({"sample_id": ids, "annotator": "ann", "value": names[said]})
    return embeddings, labelled, given


SURE = np.array([[0.0] * 64, [4.0] * 64] * 20, dtype=np.float32)  # a pool that the model knows well


def test_wrong_labels_take_the_places_of_samples_that_the_model_knows() -> None:
    embeddings, labelled, given = crowd(wrong=4)
    found = relabel_candidates(SURE, embeddings, labelled, given, size=10, limit=10, seed=0).rows
    assert {"s00", "s01", "s02", "s03"} <= set(found["sample_id"])
    assert found["score"].is_monotonic_decreasing


def test_the_limit_holds_and_who_is_in_most_doubt_comes_first() -> None:
    embeddings, labelled, given = crowd(wrong=4)
    few = relabel_candidates(SURE, embeddings, labelled, given, size=10, limit=2, seed=0).rows
    more = relabel_candidates(SURE, embeddings, labelled, given, size=10, limit=10, seed=0).rows
    assert few["sample_id"].tolist() == more["sample_id"].tolist()[:2]


def test_good_labels_leave_their_places_to_samples_in_doubt() -> None:
    embeddings, labelled, given = crowd(wrong=0)
    torn = np.full((40, 64), 2.0, dtype=np.float32)
    found = relabel_candidates(torn, embeddings, labelled, given, size=10, limit=10, seed=0).rows
    assert found.empty


def test_too_little_to_learn_from_is_said_and_asks_nobody_again(capsys) -> None:
    embeddings, labelled, given = crowd(wrong=0)
    found = relabel_candidates(SURE, embeddings[:3], labelled[:3], given, size=5, limit=5, seed=0)
    assert not len(found)
    assert "no second looks in this batch: 3 labelled samples" in capsys.readouterr().out


def test_a_pool_seen_block_by_block_is_the_pool_seen_at_once(monkeypatch) -> None:
    embeddings, labelled, given = crowd(wrong=4)
    at_once = relabel_candidates(SURE, embeddings, labelled, given, size=10, limit=10, seed=0)
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    in_blocks = relabel_candidates(SURE, embeddings, labelled, given, size=10, limit=10, seed=0)
    pd.testing.assert_frame_equal(in_blocks.rows, at_once.rows)
