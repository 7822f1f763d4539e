"""A drift detector of your own: the distance of mean embeddings, with a permutation test.

A detector compares one view of a window with the same view of the reference and returns a signal.
`python examples/own_detector.py` runs it beside the built-in one on windows with a growing shift.
In the project it is one more line in `DETECTORS` (`models/watching/__init__.py`).
"""

import numpy as np

from models.scoring.predict import Predictions
from models.watching import DETECTORS
from models.watching.detectors import signals
from models.watching.signals import Shift, Signal, WatchPolicy


def mean_shift(
    name: str, reference: np.ndarray, window: np.ndarray, *, threshold: float, policy: WatchPolicy
) -> Signal:
    """Drift when few permutations (a share of `threshold`) put the means so far apart."""
    rng = np.random.default_rng(0)
    distance = _distance(reference, window)
    both, draws = np.vstack([reference, window]), round(2 / threshold)
    by_chance = 0
    for _ in range(draws):
        order = rng.permutation(len(both))
        by_chance += _distance(both[order[len(window) :]], both[order[: len(window)]]) >= distance
    p_value = (1 + by_chance) / (1 + draws)
    outcome = Shift.DRIFT if p_value <= threshold else Shift.NONE
    detail = f"the means are {distance:.3f} apart, p {p_value:.2g}"
    return Signal(name, outcome, distance, p_value, threshold, len(window), detail)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one.mean(axis=0) - other.mean(axis=0)))


def images(rows: int, rng: np.random.Generator, *, shift: float = 0.0) -> Predictions:
    """What a model of two classes answers for images whose embeddings have moved by `shift`."""
    embeddings = rng.normal(size=(rows, 8)) + shift
    certainty = 1 / (1 + np.exp(-embeddings[:, 0]))
    outputs = np.column_stack([certainty, 1 - certainty])
    return Predictions(outputs.astype(np.float32), embeddings.astype(np.float32))


def main() -> None:
    """Move a window of 200 rows step by step away from 500 reference rows."""
    rng = np.random.default_rng(0)
    policy = WatchPolicy(false_alarms=0.02)
    reference = images(500, rng)
    for shift in (0.0, 0.2, 0.4, 0.8):
        window = images(200, rng, shift=shift)
        measured = signals(
            reference, window, policy, detectors={**DETECTORS, "mean-shift": mean_shift}
        )
        print(f"shift {shift:.1f}")
        for signal in measured:
            print(f"  {signal.name:25} {signal.outcome:8} {signal.detail}")


if __name__ == "__main__":
    main()
