"""How often are trials of sound challengers ended, and how soon those of bad ones?

    python benchmarks/trials.py [--lives 400] [--trials 20]

Simulated lives: in each trial a challenger exactly at every limit that is tolerated, the worst that
is still sound, is looked at ten times. In the traffic with bursts each observation is one of twelve
near-duplicates of a scene, which go alike. Then how many observations a fault takes each test.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.rollout.criteria import (
    LATENCY,
    OUTCOMES,
    TESTS,
    threshold_of,
    updated,
)
from models.rollout.evidence import Evidence, block_means, block_of
from models.rollout.policy import ReleasePolicy

POLICY, EXPECTED = ReleasePolicy(), 0.08
CHECKS, SEEN, BURST = 10, 100, 12
FAULTS = (1.0, 0.5, 0.3, 0.2)  # the mean observation
Draw = Callable[[np.random.Generator, float, int], np.ndarray]


def main() -> None:
    """Print both tables."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--lives", type=int, default=400)
    words.add_argument("--trials", type=int, default=20)
    given = words.parse_args()
    for name, draw in (("single images", _singly), ("bursts", _in_bursts)):
        rng = np.random.default_rng(15)
        ended = sum(_ended(rng, given.trials, draw) for _ in range(given.lives))
        print(
            f"{name}: {ended} of {given.lives} lives of {given.trials} sound trials had one ended, "
            f"{ended / given.lives:.3f}; promised {POLICY.false_aborts}"
        )
    print("observations until a fault ends the first / the twentieth trial, median of 31")
    rng = np.random.default_rng(16)
    for test in TESTS:
        parts = [f"{fault:.0%}: {_needed(rng, test, fault, 1)} / {_needed(rng, test, fault, 20)}"
                 for fault in FAULTS if fault > 1.5 * _tolerance(test)]  # fmt: skip
        print(f"  {test:>12} ({_tolerance(test):.2f} tolerated)  {'   '.join(parts)}")


def _tolerance(test: str) -> float:
    tolerated = TESTS[test].tolerance(POLICY, EXPECTED)
    assert tolerated is not None
    return tolerated


def _singly(rng: np.random.Generator, chance: float, count: int) -> np.ndarray:
    return (rng.random(count) < chance).astype(float)


def _in_bursts(rng: np.random.Generator, chance: float, count: int) -> np.ndarray:
    alike = np.repeat(_singly(rng, chance, count), BURST)
    times = np.repeat(np.arange(count) * 20.0, BURST) + np.tile(np.arange(BURST) * 0.5, count)
    return np.array(block_means(alike, block_of(times), np.full(len(alike), "", object)))


def _observed(
    rng: np.random.Generator, test: str, mean: float, count: int, draw: Draw
) -> np.ndarray:
    if test not in (LATENCY, OUTCOMES):
        return draw(rng, mean, count)
    return 2 * draw(rng, (1 + mean) / 2, count) - 1  # a challenger can be better here


def _ended(rng: np.random.Generator, trials: int, draw: Draw) -> bool:
    return any(_fires(rng, number, draw) for number in range(1, trials + 1))


def _fires(rng: np.random.Generator, number: int, draw: Draw) -> bool:
    evidence: dict[str, Evidence] = {}
    for _ in range(CHECKS):
        seen = {test: _observed(rng, test, _tolerance(test), SEEN, draw).tolist() for test in TESTS}
        evidence = updated(evidence, seen, POLICY, expected=EXPECTED)
        threshold = threshold_of(number, POLICY)
        if any(one.log_evidence >= threshold for one in evidence.values()):
            return True
    return False


def _needed(rng: np.random.Generator, test: str, fault: float, number: int) -> int:
    def until_fired() -> int:
        evidence = Evidence()
        while evidence.log_evidence < threshold_of(number, POLICY):
            seen = _observed(rng, test, fault, 1, _singly)
            evidence = evidence.after(seen, tolerance=_tolerance(test))
        return evidence.observations

    return int(np.median([until_fired() for _ in range(31)]))


if __name__ == "__main__":
    main()
