"""The direction of the traffic: learned of windows before, compared with the reference anew."""

import sys
from typing import Any

import numpy as np
import pytest

from models.watching.direction import LEAST_THIRD, Along, Features, follow
from models.watching.scores import fit_scores
from models.watching.signals import Window
from tests.models.watching.lives import POLICY, clean, evidence

REFERENCE = clean(120, np.random.default_rng(1))
SCORES = fit_scores(REFERENCE)
FEATURES = Features.of(REFERENCE, SCORES)
ALARM = np.log(POLICY.checks_planned)
SHARES = {"0": 0.0}


def moved(rows: int, rng: np.random.Generator, by: float = 0.7) -> Window:
    """Images that differ by a little in every statistic."""
    window = clean(rows, rng)
    window.statistics[:] += by * np.resize([1, -1], window.statistics.shape[1])
    return window


def life(draw: Any, windows: int, seed: int = 0) -> list[Along]:
    rng, course, state = np.random.default_rng(seed), list[Along](), dict[str, Any]()
    for _ in range(windows):
        window = draw(60, rng)
        weights = np.ones(len(window))
        course.append(follow(FEATURES, state, window, weights, SCORES.base, SHARES))
        state = course[-1].state
    return course


def test_it_is_learned_anew_after_1_2_4_and_8_windows_and_starts_from_nothing_then() -> None:
    course = life(moved, 9)
    assert not course[0].levels
    directions = [one.state["direction"] for one in course]
    changed = [n for n in range(1, 9) if directions[n] != directions[n - 1]]
    assert changed == [1, 3, 7]
    for number in (0, 1, 3, 7):
        assert not course[number].state.get("levels")
        assert not np.any([one["past"] for one in course[number].state["learned"].values()])
    assert np.any(course[4].state["learned"]["0"]["past"])


def test_what_differs_in_many_features_shows_along_it_and_clean_traffic_does_not() -> None:
    assert life(moved, 2)[1].levels["0"].max() > 8
    highest = [
        max(one.levels["0"].max() for one in life(clean, 8, seed) if one.levels)
        for seed in range(12)
    ]
    assert np.mean(np.exp(highest)) < 12 * ALARM
    assert max(highest) < ALARM


def test_a_third_that_is_too_small_has_no_direction() -> None:
    small = clean(3 * LEAST_THIRD - 3, np.random.default_rng(2))
    scores = fit_scores(small)
    features = Features.of(small, scores)
    window = moved(60, np.random.default_rng(3))
    made = follow(features, {}, window, np.ones(60), scores.base, SHARES)
    assert made.state["direction"] is None
    assert follow(features, made.state, window, np.ones(60), scores.base, SHARES).levels == {}


def test_statistics_that_were_not_recorded_are_no_part_of_it() -> None:
    bare = Window.of(REFERENCE.outputs, REFERENCE.embeddings, labels=REFERENCE.labels)
    scores = fit_scores(bare)
    features = Features.of(bare, scores)
    window = moved(60, np.random.default_rng(3))
    state = follow(features, {}, window, np.ones(60), scores.base, SHARES).state
    assert np.isfinite(state["moved"]).all()


def test_a_shift_from_the_first_window_on_is_seen_by_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = lambda rng: moved(60, rng)  # noqa: E731
    seen = [max(evidence(REFERENCE, draw, 8, seed=seed)) for seed in range(4)]
    module = sys.modules["models.watching.martingale"]  # the package has a function of this name
    none = Along({}, {}, np.zeros((1, 16)), np.zeros((60, 1)), {})
    monkeypatch.setattr(module, "follow", lambda *_: none)
    without = [max(evidence(REFERENCE, draw, 8, seed=seed)) for seed in range(4)]
    assert min(seen) >= ALARM > max(without)
