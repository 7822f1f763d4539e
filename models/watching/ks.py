"""The Kolmogorov-Smirnov detector: each column of a view is tested by itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.watching import alibi
from models.watching.signals import Family, Signal, WatchPolicy, Window
from models.watching.views import (
    FAMILIES,
    Pair,
    Split,
    calibrated,
    moved_from,
    p_value_signal,
    signal_of_each_view,
)

MIN_EFFECT = 0.1  # KS distance: less than a tenth of the rows moved is not worth a round


def ks(
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """A signal each for class probabilities, embeddings and image statistics."""
    return signal_of_each_view("ks", _signal, reference, window, state, policy=policy, rng=rng)


def _signal(
    name: str,
    pair: Pair,
    state: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    family: Family,
    policy: WatchPolicy,
) -> tuple[Signal, dict[str, float]]:
    p_values, distances = alibi.columns_test(pair.reference, pair.window)
    most = int(distances.argmax())
    p_value, stored = calibrated(_of_all(p_values), _splits(pair.reference), pair, state, name, rng)
    threshold = policy.alarms_per_quarter / policy.checks_planned / len(FAMILIES)
    meaning = (
        f"{pair.columns[most]} of {len(distances)} columns moved most, KS distance "
        f"{distances[most]:.3f} (drift from {MIN_EFFECT:g}), p {p_value:.2g} over all (drift up to "
        f"{threshold:.2g}), {len(pair.window)} images against {len(pair.reference)}"
    )
    column = [most]
    signal = p_value_signal(
        name, family, pair, state,
        value=float(distances[most]), p_value=p_value, meaning=meaning, threshold=threshold,
        drift=bool(p_value <= threshold and distances[most] >= MIN_EFFECT),
        moved=moved_from(pair.reference[:, column], pair.window[:, column]),
        detail={pair.columns[at]: float(distances[at]) for at in np.argsort(-distances)[:5]},
    )  # fmt: skip
    return signal, stored


def _of_all(p_values: np.ndarray) -> float:
    """The p-value of all columns together (Bonferroni)."""
    return min(1.0, float(p_values.min()) * len(p_values))


def _splits(rows: np.ndarray) -> Split:
    """The same test on splits of the rows, which are sorted once for all of them."""
    from scipy.special import kolmogorov

    order = np.argsort(rows, axis=0)
    ordered = np.take_along_axis(rows, order, axis=0)
    last = np.vstack([ordered[1:] > ordered[:-1], np.ones((1, rows.shape[1]), bool)])  # of a tie

    def p_value(chosen: np.ndarray) -> float:
        size, rest = int(chosen.sum()), int((~chosen).sum())
        steps = np.where(chosen, 1 / size, -1 / rest)[order]
        distances = (np.abs(np.cumsum(steps, axis=0)) * last).max(axis=0)
        scale = np.sqrt(size * rest / (size + rest))
        return _of_all(np.minimum(kolmogorov(scale * distances), 1.0))

    return p_value
