"""The five tests: each fires on its own fault, and sound challengers live at the rate promised."""

import numpy as np
import pytest

from models.rollout.criteria import (
    ABSTENTIONS,
    DISAGREEMENT,
    ERRORS,
    LATENCY,
    OF_ALL_TRAFFIC,
    OUTCOMES,
    TESTS,
    criteria_of,
    threshold_of,
    updated,
)
from models.rollout.evidence import Evidence, block_means, block_of
from models.rollout.policy import ReleasePolicy

POLICY = ReleasePolicy()
EXPECTED = 0.08  # share of disagreement that the verdict measured
CHECKS = 6  # of one trial
FAULTS = {  # the share of images, or of timings, at which each test has little to doubt
    ERRORS: 0.15,
    LATENCY: 0.9,
    ABSTENTIONS: 0.25,
    DISAGREEMENT: 0.35,
    OUTCOMES: 0.35,
}


def traffic(
    rng: np.random.Generator,
    bursts: int,
    *,
    burst: int,
    faults: dict[str, float],
    left: float = 1.0,
) -> dict[str, list[float]]:
    """Observations of one check: all images of a burst, near-duplicates, go alike.

    Without a fault a challenger is exactly at what is tolerated: the worst that is still sound. Of
    what a front model leaves over it is so if it differs in nothing else.
    """  # fmt: skip
    blocks = block_of(np.repeat(np.arange(bursts) * 30.0, burst))
    sources = np.full(bursts * burst, "", object)
    observed = {}
    for name, test in TESTS.items():
        tolerance = test.tolerance(POLICY, EXPECTED)
        assert tolerance is not None
        tolerance = min(tolerance / left if name in OF_ALL_TRAFFIC else tolerance, 0.99)
        share, undecided = faults.get(name, tolerance), 0.5 if name == OUTCOMES else 0.0
        least = -1.0 if name in (LATENCY, OUTCOMES) else 0.0  # a challenger can be better here
        decided = np.where(
            rng.random(bursts) < (share / (1 - undecided) - least) / (1 - least), 1.0, least
        )
        values = np.where(rng.random(bursts) < undecided, 0.0, decided)
        observed[name] = block_means(np.repeat(values, burst), blocks, sources)
    return observed


def fired(
    rng: np.random.Generator,
    *,
    number: int,
    burst: int = 1,
    faults: dict[str, float] | None = None,
    left: float = 1.0,
) -> set[str]:
    """The tests that fire in the trial of this number."""
    evidence: dict[str, Evidence] = {}
    for _ in range(CHECKS):
        observed = traffic(rng, 60, burst=burst, faults=faults or {}, left=left)
        evidence = updated(evidence, observed, POLICY, expected=EXPECTED, left=left)
        made = criteria_of(evidence, POLICY, number=number, expected=EXPECTED, left=left)
        if names := {one.name for one in made if one.fired}:
            return names
    return set()


@pytest.mark.parametrize(("burst", "left"), [(1, 1.0), (8, 1.0), (1, 0.3)])
def test_lives_of_sound_challengers_are_ended_at_the_rate_promised_at_most(
    burst: int, left: float
) -> None:
    """Each at the limit of what is tolerated, in traffic of single images and of bursts."""
    rng = np.random.default_rng(15)
    lives, trials = 80, 3
    ended = sum(
        any(fired(rng, number=number, burst=burst, left=left) for number in range(1, trials + 1))
        for _ in range(lives)
    )
    assert ended / lives <= POLICY.false_aborts


@pytest.mark.parametrize("name", TESTS)
def test_each_test_fires_on_its_own_fault(name: str) -> None:
    rng = np.random.default_rng(3)
    faults = dict.fromkeys(TESTS, 0.0) | {DISAGREEMENT: EXPECTED}
    names = [fired(rng, number=3, faults={**faults, name: FAULTS[name]}) for _ in range(20)]
    assert sum(one == {name} for one in names) >= 19


def test_counting_images_of_a_burst_singly_would_break_the_promise() -> None:
    """Why blocks: the same traffic, each image an observation of its own."""
    rng = np.random.default_rng(4)
    broken = 0
    for _ in range(60):
        is_bad = np.repeat(rng.random(60) < POLICY.errors, 32).astype(float)
        evidence = updated({}, {ERRORS: is_bad.tolist()}, POLICY, expected=None)
        [one] = [
            one
            for one in criteria_of(evidence, POLICY, number=1, expected=None)
            if one.name == ERRORS
        ]
        broken += one.fired
    assert broken / 60 > 2 * POLICY.false_aborts


def test_missing_observations_never_fire() -> None:
    evidence = updated({}, {}, POLICY, expected=None)
    made = criteria_of(evidence, POLICY, number=1, expected=None)
    assert not any(one.fired for one in made)
    silent = {one.name: one.sentence() for one in made}
    assert "nothing observed" in silent[OUTCOMES]
    assert "nothing says what is to be expected" in silent[DISAGREEMENT]
    many = updated({}, {DISAGREEMENT: [1.0] * 500}, POLICY, expected=None)
    made = criteria_of(many, POLICY, number=1, expected=None)
    assert not any(one.fired for one in made)


def test_later_trials_need_more_evidence_so_that_a_life_has_one_promise() -> None:
    thresholds = [threshold_of(number, POLICY) for number in range(1, 200)]
    assert thresholds == sorted(thresholds)
    assert sum(len(TESTS) * np.exp(-one) for one in thresholds) <= POLICY.false_aborts


def test_where_it_is_not_known_how_much_is_left_over_three_tests_cannot_tell() -> None:
    observed = {name: [1.0] * 500 for name in TESTS}
    evidence = updated({}, observed, POLICY, expected=EXPECTED, left=None)
    made = criteria_of(evidence, POLICY, number=1, expected=EXPECTED, left=None)
    assert {one.name for one in made if one.fired} == {ERRORS, LATENCY}
    assert {one.name for one in made if one.tolerance is None} == set(OF_ALL_TRAFFIC)
