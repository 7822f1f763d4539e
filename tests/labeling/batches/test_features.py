import numpy as np
import pandas as pd
import pytest

from labeling.batches.features import Features

FEATURES = Features(pd.Index(["b", "a", "c"]), np.arange(6).reshape(3, 2))


def test_features_are_those_of_the_samples_in_their_order() -> None:
    assert FEATURES.of(["c", "b"]).tolist() == [[4, 5], [0, 1]]
    assert FEATURES.numbers(["a", "x"]).tolist() == [1, -1]
    assert FEATURES.has(["a", "b"]) and FEATURES.has([]) and not FEATURES.has(["a", "x"])


def test_rows_of_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="features of 2 images for 3 samples"):
        Features(FEATURES.sample_ids, FEATURES.rows[:2])
