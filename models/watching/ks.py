"""The Kolmogorov-Smirnov detector: each column of a view is tested by itself."""

import numpy as np

from models.watching.signals import Shift, Signal, WatchPolicy


def ks_signal(
    name: str, reference: np.ndarray, window: np.ndarray, *, threshold: float, policy: WatchPolicy
) -> Signal:
    """Drift when a column has moved: the test finds it, and by `policy.min_effect` at least."""
    p_values, distances = ks_test(reference, window)
    p_value = min(1.0, float(p_values.min()) * len(p_values))
    distance = float(distances.max())
    drift = p_value <= threshold and distance >= policy.min_effect
    detail = (
        f"column {distances.argmax()} of {len(distances)} moved most, KS distance {distance:.3f} "
        f"(drift from {policy.min_effect:g}), p {p_value:.2g} (drift up to {threshold:g}), "
        f"{len(window)} rows against {len(reference)}"
    )
    outcome = Shift.DRIFT if drift else Shift.NONE
    return Signal(name, outcome, distance, p_value, threshold, len(window), detail)


def ks_test(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The p-value and the distance of a two-sample KS test on each column.

    The only call of Alibi Detect, whose licence does not cover every production use: to go
    without, put `scipy.stats.ks_2samp(..., method="asymp")` on each column here.
    """
    from alibi_detect.cd import KSDrift

    p_values, distances = KSDrift(reference).score(window)
    return np.asarray(p_values, float), np.asarray(distances, float)
