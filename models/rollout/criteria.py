"""What ends the trial of a challenger: five tests against the champion on the same traffic.

The promise: the chance that evidence ever ends the trial of a challenger that is within every
tolerance is at most `false_aborts`, over the life of a workspace. The k-th trial has the part of
`alpha_spending.alpha_of(k)`, divided evenly among the criteria; a trial that was ended by evidence
gives its number back, as a promotion does there. A criterion without observations has no say.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.judging.alpha_spending import alpha_of
from models.rollout.evidence import Evidence
from models.rollout.policy import ReleasePolicy

ERRORS, LATENCY, ABSTENTIONS = "errors", "latency", "abstentions"
DISAGREEMENT, OUTCOMES = "disagreement", "outcomes"
# Their tolerances are shares of all traffic. What a front model leaves over is the hard part, on
# which a sound challenger may differ from the champion far more: by all of it, in the worst case.
OF_ALL_TRAFFIC = (ABSTENTIONS, DISAGREEMENT, OUTCOMES)
LARGEST = 0.99  # of a tolerance: more would tolerate everything


@dataclass(frozen=True)
class Test:
    """One test: what its observations are, and what is tolerated."""

    meaning: str  # of an observation
    tolerance: Callable[[ReleasePolicy, float | None], float | None]  # None: it cannot tell


TESTS: Mapping[str, Test] = {
    ERRORS: Test("share of images that it alone fails on", lambda policy, _: policy.errors),
    LATENCY: Test("share of timings beyond the allowed time, less that within it", lambda *_: 0.0),
    ABSTENTIONS: Test("rise of the share that needs review", lambda policy, _: policy.abstentions),
    DISAGREEMENT: Test(
        "share of images answered differently",
        lambda policy, expected: None if expected is None else expected + policy.disagreement,
    ),
    OUTCOMES: Test("loss of accuracy by truths", lambda policy, _: policy.loss),
}


@dataclass(frozen=True)
class Criterion:
    """Where one test stands."""

    name: str
    meaning: str
    tolerance: float | None  # None: nothing says what is expected, so it cannot fire
    observations: int
    mean: float | None
    log_evidence: float
    threshold: float

    @property
    def fired(self) -> bool:
        """Whether the evidence ends the trial."""
        return self.tolerance is not None and self.log_evidence >= self.threshold

    def sentence(self) -> str:
        """The test in words and numbers."""
        if self.tolerance is None:
            return f"{self.name}: nothing says what is to be expected of these images"
        if self.mean is None:
            return f"{self.name}: nothing observed yet"
        return (
            f"{self.name}: {self.meaning} {self.mean:.3f}, {self.tolerance:.3f} is tolerated; "
            f"evidence {self.log_evidence:.1f} of {self.threshold:.1f} "
            f"in {self.observations} observations"
        )

    def as_json(self) -> dict[str, Any]:
        """The criterion as the record has it."""
        return {
            "name": self.name,
            "tolerance": self.tolerance,
            "observations": self.observations,
            "mean": None if self.mean is None else round(self.mean, 6),
            "log_evidence": round(self.log_evidence, 6),
            "threshold": round(self.threshold, 6),
            "fired": self.fired,
        }


def threshold_of(number: int, policy: ReleasePolicy) -> float:
    """The log evidence that ends the trial of this number, from 1, in a workspace's life."""
    return -math.log(alpha_of(number, policy.false_aborts) / len(TESTS))


def updated(
    before: Mapping[str, Evidence],
    observed: Mapping[str, Sequence[float]],
    policy: ReleasePolicy,
    *,
    expected: float | None,
    left: float | None = 1.0,
) -> dict[str, Evidence]:
    """The evidence of every test after new observations.

    `left` is the share of the traffic that a front model leaves over, at least; None: not known.
    """
    after = {}
    for name in TESTS:
        tolerance = _tolerance(name, policy, expected, left)
        evidence = before.get(name, Evidence())
        if tolerance is not None:
            evidence = evidence.after(observed.get(name, ()), tolerance=tolerance)
        after[name] = evidence
    return after


def criteria_of(
    evidence: Mapping[str, Evidence],
    policy: ReleasePolicy,
    *,
    number: int,
    expected: float | None,
    left: float | None = 1.0,
) -> tuple[Criterion, ...]:
    """Where every test of the trial of this number stands."""
    threshold = threshold_of(number, policy)
    made = []
    for name, test in TESTS.items():
        known = evidence.get(name, Evidence())
        made.append(
            Criterion(
                name,
                test.meaning,
                _tolerance(name, policy, expected, left),
                known.observations,
                known.mean,
                known.log_evidence,
                threshold,
            )
        )
    return tuple(made)


def _tolerance(
    name: str, policy: ReleasePolicy, expected: float | None, left: float | None
) -> float | None:
    tolerance = TESTS[name].tolerance(policy, expected)
    if name in OF_ALL_TRAFFIC and tolerance is not None:
        tolerance = tolerance / left if left else None
    return None if tolerance is None else min(tolerance, LARGEST)
