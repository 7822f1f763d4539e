import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from labeling.batches import checks as seeing
from labeling.batches.checks import sorted_by_sample, validate_predictions
from labeling.strategies.pool import Pool

POOL = pd.DataFrame({"sample_id": ["a", "b", "c"]})
SOUND = np.array([[0.5, 0.5], [1.0, 0.0], [0.1, 0.9]], dtype=np.float32)


def broken(row: int, value: float) -> np.ndarray:
    found = SOUND.copy()
    found[row, 0] = value
    return found


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Pool(probs=broken(1, 0.5)), "1 of 3 samples have probabilities that do not sum .* is b"),
        (Pool(probs=broken(2, math.nan)), "probability that is not finite, the first is c"),
        (Pool(ensemble=np.stack([SOUND, broken(0, 0.9)])), "do not sum to one, the first is a"),
        (Pool(embeddings=broken(1, math.nan)), "embedding that is not finite, the first is b"),
        (Pool(embeddings=broken(1, math.inf)), "embedding that is not finite, the first is b"),
        (Pool(embeddings=SOUND[:2]), r"embeddings have shape \(2, 2\) for 3 samples"),
        (Pool(embeddings=SOUND, labelled=np.ones((4, 3))), r"shape \(4, 3\).*from one model"),
        (Pool(embeddings=SOUND, labelled=broken(0, math.nan)), "labelled are not all finite"),
        (Pool(embeddings=SOUND, labelled=SOUND, labels=np.zeros(2)), "2 labels for 3 labelled"),
    ],
)
def test_what_cannot_be_seen_is_refused_by_the_first_sample(seen: Pool, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        validate_predictions(POOL, seen)


def test_the_first_sample_is_named_whichever_block_it_is_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seeing, "ROWS", 2)
    pool = pd.DataFrame({"sample_id": list("abcdefg")})
    probs = np.full((7, 2), 0.5)
    probs[[4, 6], 0] = 0.7
    with pytest.raises(ValueError, match=r"2 of 7 samples .* sum to one, the first is e"):
        validate_predictions(pool, Pool(probs=probs))
    probs[5, 1] = math.nan
    with pytest.raises(ValueError, match=r"1 of 7 samples .* not finite, the first is f"):
        validate_predictions(pool, Pool(ensemble=np.stack([np.full((7, 2), 0.5), probs])))


def test_a_check_needs_little_of_the_memory_that_the_pool_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seeing, "ROWS", 1000)
    pool = pd.DataFrame({"sample_id": [f"{row:05}" for row in range(20_000)]})
    wide = np.full((20_000, 256), 1 / 256, dtype=np.float32)
    seen = Pool(probs=wide, ensemble=wide[None], embeddings=wide, labelled=wide)
    validate_predictions(pool, seen)  # what Python and pandas keep from the first time is kept now
    tracemalloc.start()
    validate_predictions(pool, seen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < wide.nbytes / 8


def test_sound_sight_passes_and_so_does_an_empty_pool() -> None:
    validate_predictions(
        POOL, Pool(probs=SOUND, embeddings=SOUND, labelled=SOUND, labels=np.zeros(3))
    )
    validate_predictions(POOL[:0], Pool(probs=SOUND))


def test_rows_are_sorted_with_all_that_is_seen_of_them() -> None:
    order = [2, 0, 1]
    seen = Pool(probs=SOUND[order], embeddings=SOUND[order], ensemble=np.stack([SOUND[order]]))
    pool, found = sorted_by_sample(POOL.iloc[order], seen)
    assert pool["sample_id"].tolist() == ["a", "b", "c"]
    assert found.probs is not None and (found.probs == SOUND).all()
    assert found.embeddings is not None and (found.embeddings == SOUND).all()
    assert found.ensemble is not None and (found.ensemble[0] == SOUND).all()


def test_rows_that_are_sorted_are_not_copied() -> None:
    seen = Pool(embeddings=SOUND)
    assert sorted_by_sample(POOL, seen)[1].embeddings is SOUND
