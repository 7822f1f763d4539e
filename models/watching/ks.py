"""The Kolmogorov-Smirnov detector: each column of a view is tested by itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.watching.evidence import accumulate, from_p_value
from models.watching.signals import Family, Shift, Signal, WatchPolicy, Window

MIN_EFFECT = 0.1  # KS distance: less than a tenth of the rows moved is not worth a round
COMPONENTS = 16  # of the embeddings: 8 missed noise that 16 detected, 32 hardly more
VIEWS = {"probabilities": Family.OUTPUTS, "embeddings": Family.INPUTS}


def ks(
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """Drift of the probabilities or of the embeddings: a column moved, by MIN_EFFECT at least."""
    threshold = policy.alarms_per_quarter / policy.checks_planned / len(VIEWS)
    pairs = {
        "probabilities": (reference.outputs, window.outputs),
        "embeddings": _components(reference.embeddings, window.embeddings),
    }
    before = state.get("accumulated", {})
    signals = [
        _signal(f"ks-{view}", VIEWS[view], *pairs[view], window, threshold, before)
        for view in VIEWS
    ]
    return signals, {"accumulated": {one.name: round(one.accumulated, 6) for one in signals}}


def _signal(
    name: str,
    family: Family,
    past: np.ndarray,
    current: np.ndarray,
    window: Window,
    threshold: float,
    before: Mapping[str, float],
) -> Signal:
    p_values, distances = ks_test(past, current)
    p_value = min(1.0, float(p_values.min()) * len(p_values))
    distance = float(distances.max())
    drift = p_value <= threshold and distance >= MIN_EFFECT
    evidence = from_p_value(p_value)
    meaning = (
        f"column {distances.argmax()} of {len(distances)} moved most, KS distance {distance:.3f} "
        f"(drift from {MIN_EFFECT:g}), p {p_value:.2g} (drift up to {threshold:.2g}), "
        f"{len(current)} rows against {len(past)}"
    )
    return Signal(
        name=name,
        family=family,
        outcome=Shift.DRIFT if drift else Shift.NONE,
        value=distance,
        threshold=threshold,
        evidence=evidence,
        accumulated=accumulate(before.get(name, 0.0), evidence),
        p_value=p_value,
        rows=len(window),
        groups=len(np.unique(window.groups)),
        meaning=meaning,
    )


def ks_test(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The p-value and the distance of a two-sample KS test on each column.

    The only call of Alibi Detect, whose licence does not cover every production use: to go
    without, put `scipy.stats.ks_2samp(..., method="asymp")` on each column here.
    """
    from alibi_detect.cd import KSDrift

    p_values, distances = KSDrift(reference).score(window)
    return np.asarray(p_values, float), np.asarray(distances, float)


def _components(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both projected on the principal axes of the two together.

    Axes of the reference alone fit it better than the window, the more so the wider the embedding:
    that would raise alarms without drift.
    """
    from sklearn.decomposition import PCA

    both = np.vstack([reference, window]).astype(np.float64)
    projected = PCA(min(COMPONENTS, *both.shape), random_state=0).fit_transform(both)
    return projected[: len(reference)], projected[len(reference) :]
