"""The population stability index of each feature, and its chance level.

PSI = sum (share - past share) log(share / past share) over the tenths of the reference. 0.2 is the
threshold people know; samples of 100 are above it by chance, so that the signal also asks whether
chance explains the value: PSI / (1/n + 1/m) is close to chi-squared with one degree of freedom less
than bins.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.watching.signals import Family, Signal, WatchPolicy, Window
from models.watching.views import (
    LEVEL,
    Pair,
    calibrated,
    p_value_signal,
    signal_of_each_view,
    split_by,
)

BINS = 10
SMOOTHING = 0.5  # rows added to each bin, so that an empty one is no infinity
SHOWN = 10  # features in the detail of a signal


def psi(
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """A signal each for class probabilities, embeddings and image statistics."""
    return signal_of_each_view("psi", _signal, reference, window, state, policy=policy, rng=rng)


def stability_index(reference: np.ndarray, window: np.ndarray) -> tuple[float, int]:
    """The index of one feature, and the number of bins it was taken over."""
    past, new = _binned(reference, window)
    return _index(past, new), len(past)


def _signal(
    name: str,
    pair: Pair,
    state: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    family: Family,
    policy: WatchPolicy,
) -> tuple[Signal, dict[str, float]]:
    values, p_value = _test(pair.reference, pair.window)
    most = int(values.argmax())
    p_value, stored = calibrated(
        p_value, split_by(_p_value, pair.reference), pair, state, name, rng
    )
    meaning = (
        f"{pair.columns[most]} has a PSI of {values[most]:.2f} (large from "
        f"{policy.psi_threshold:g}); p {p_value:.2g} over all {len(values)} features"
    )
    signal = p_value_signal(
        name, family, pair, state, value=float(values[most]), p_value=p_value, meaning=meaning,
        drift=bool(values[most] >= policy.psi_threshold and p_value <= LEVEL),
        threshold=policy.psi_threshold,
        moved=_crowding(pair.reference[:, most], pair.window[:, most]),
        detail={pair.columns[at]: float(values[at]) for at in np.argsort(-values)[:SHOWN]},
    )  # fmt: skip
    return signal, stored


def _test(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, float]:
    """The index of each feature, and the p-value of the largest corrected for their number."""
    from scipy.special import chdtrc

    measured = [stability_index(*both) for both in zip(reference.T, window.T, strict=True)]
    values, bins = np.array([value for value, _ in measured]), np.array([b for _, b in measured])
    scale = 1 / len(reference) + 1 / len(window)
    p_values = np.where(bins > 1, chdtrc(np.maximum(bins - 1, 1), values / scale), 1.0)
    return values, min(1.0, float(p_values.min()) * len(values))


def _p_value(reference: np.ndarray, window: np.ndarray) -> float:
    return _test(reference, window)[1]


def _binned(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of both by bin; a feature of few values has one bin for each."""
    places, other, bins = _places(reference, window)
    return np.bincount(places, minlength=bins), np.bincount(other, minlength=bins)


def _places(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    values = np.unique(np.concatenate([reference, window]))
    if len(values) > BINS:
        values = np.unique(np.quantile(reference, np.arange(1, BINS) / BINS))
        bins = len(values) + 1
    else:
        bins = len(values)
    return np.searchsorted(values, reference), np.searchsorted(values, window), bins


def _index(past: np.ndarray, new: np.ndarray) -> float:
    one, other = (
        (counts + SMOOTHING) / (counts.sum() + SMOOTHING * len(counts)) for counts in (past, new)
    )
    return float(((other - one) * np.log(other / one)).sum())


def _crowding(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """For each row of the window how much oftener its bin is hit than in the reference."""
    past, new = _binned(reference, window)
    _, places, _ = _places(reference, window)
    return np.log((new + SMOOTHING) / len(window) / ((past + SMOOTHING) / len(reference)))[places]
