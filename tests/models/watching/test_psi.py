import numpy as np
import pytest

from models.watching.psi import psi, stability_index
from models.watching.signals import Shift, WatchPolicy, Window


def test_it_is_the_sum_over_tenths_of_the_reference() -> None:
    reference = np.arange(10_000) / 10_000
    window = np.concatenate([np.arange(0, 0.5, 0.0001), np.arange(0, 1, 0.0002)])
    value, bins = stability_index(reference, window)
    by_hand = 5 * (0.15 - 0.1) * np.log(1.5) + 5 * (0.05 - 0.1) * np.log(0.5)
    assert bins == 10
    assert value == pytest.approx(by_hand, rel=0.01)


def test_a_feature_of_few_values_has_a_bin_for_each_and_none_is_infinite() -> None:
    value, bins = stability_index(np.zeros(100), np.ones(100))
    assert bins == 2
    assert 5 < value < 50
    assert stability_index(np.zeros(100), np.zeros(50)) == (0.0, 1)


def test_a_window_above_the_threshold_by_chance_is_no_drift() -> None:
    rng = np.random.default_rng(0)
    reference, window = (
        Window.of(np.full((rows, 2), 0.5), rng.normal(size=(rows, 8))) for rows in (100, 60)
    )
    signals, _ = psi(reference, window, {}, policy=WatchPolicy(), rng=rng)
    embeddings = signals[1]
    assert embeddings.value is not None
    assert embeddings.value > 0.2
    assert (embeddings.threshold, embeddings.outcome) == (0.2, Shift.NONE)
    assert len(embeddings.detail) == 8
