"""A drift detector of your own: the distance of mean embeddings, with a permutation test.

A detector compares a window of traffic with the reference and returns signals and its state.
`python examples/own_detector.py` runs it beside the built-in one on windows with a growing shift.
In the project it is one more line in `DETECTORS` (`models/watching/__init__.py`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.watching import DETECTORS
from models.watching.evidence import accumulate, from_p_value
from models.watching.signals import Family, Shift, Signal, WatchPolicy, Window

DRAWS, LEVEL = 200, 0.01


def mean_shift(
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """Drift when one permutation in a hundred or fewer puts the means so far apart."""
    past, current = reference.embeddings, window.embeddings
    distance = _distance(past, current)
    both, by_chance = np.vstack([past, current]), 0
    for _ in range(DRAWS):
        order = rng.permutation(len(both))
        by_chance += _distance(both[order[len(current) :]], both[order[: len(current)]]) >= distance
    p_value = (1 + by_chance) / (1 + DRAWS)
    evidence = from_p_value(p_value)
    accumulated = accumulate(state.get("accumulated", {}).get("mean-shift", 0.0), evidence)
    signal = Signal(
        name="mean-shift",
        family=Family.INPUTS,
        outcome=Shift.DRIFT if p_value <= LEVEL else Shift.NONE,
        value=distance,
        threshold=LEVEL,
        evidence=evidence,
        accumulated=accumulated,
        p_value=p_value,
        rows=len(window),
        groups=len(np.unique(window.groups)),
        meaning=f"the means are {distance:.3f} apart, p {p_value:.2g}",
    )
    return [signal], {"accumulated": {"mean-shift": accumulated}}


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one.mean(axis=0) - other.mean(axis=0)))


def images(rows: int, rng: np.random.Generator, *, shift: float = 0.0) -> Window:
    """What a model of two classes answers for images whose embeddings have moved by `shift`."""
    embeddings = rng.normal(size=(rows, 8)) + shift
    certainty = 1 / (1 + np.exp(-embeddings[:, 0]))
    return Window.of(np.column_stack([certainty, 1 - certainty]), embeddings)


def main() -> None:
    """Move a window of 200 rows step by step away from 500 reference rows."""
    rng = np.random.default_rng(0)
    policy = WatchPolicy()
    reference = images(500, rng)
    for shift in (0.0, 0.2, 0.4, 0.8):
        window = images(200, rng, shift=shift)
        print(f"shift {shift:.1f}")
        for detector in (*DETECTORS.values(), mean_shift):
            signals, _ = detector(reference, window, {}, policy=policy, rng=rng)
            for signal in signals:
                print(f"  {signal.name:25} {signal.outcome:8} {signal.meaning}")


if __name__ == "__main__":
    main()
