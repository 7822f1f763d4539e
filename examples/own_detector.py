"""A drift detector of your own: the distance of mean embeddings, with a permutation test.

A detector compares rows of a window with rows of the reference and returns a signal:
`python examples/own_detector.py` runs it beside the built-in test on windows with a growing shift.
"""

import numpy as np

from models.watching.detectors import Signal, WatchPolicy, ks_test


def mean_shift(
    reference: np.ndarray, window: np.ndarray, policy: WatchPolicy, *, seed: int = 0
) -> Signal:
    """Drift when the means are farther apart than in all but `false_alarms` of the permutations."""
    if min(len(reference), len(window)) < policy.min_rows:
        detail = f"{len(window)} rows; {policy.min_rows} are needed"
        return Signal("mean-shift", "cannot tell", None, None, None, len(window), detail)
    rng = np.random.default_rng(seed)
    distance = _distance(reference, window)
    both, draws = np.vstack([reference, window]), round(2 / policy.false_alarms)
    by_chance = 0
    for _ in range(draws):
        order = rng.permutation(len(both))
        by_chance += _distance(both[order[len(window) :]], both[order[: len(window)]]) >= distance
    p_value = (1 + by_chance) / (1 + draws)
    outcome = "drift" if p_value <= policy.false_alarms else "no drift"
    detail = f"the means are {distance:.3f} apart, p {p_value:.2g}"
    return Signal(
        "mean-shift", outcome, distance, p_value, policy.false_alarms, len(window), detail
    )


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one.mean(axis=0) - other.mean(axis=0)))


def main() -> None:
    """Move a window of 200 rows step by step away from 500 reference rows."""
    rng = np.random.default_rng(0)
    policy = WatchPolicy(false_alarms=0.01)
    reference = rng.normal(size=(500, 8))
    for shift in (0.0, 0.1, 0.2, 0.4):
        window = rng.normal(size=(200, 8)) + shift
        signal = mean_shift(reference, window, policy)
        p_values, _ = ks_test(reference, window)
        print(
            f"shift {shift:.1f}: {signal.outcome:8} {signal.detail}; "
            f"KS p {min(1.0, len(p_values) * p_values.min()):.2g}"
        )


if __name__ == "__main__":
    main()
