"""The mix of classes is estimated from probabilities, and alarms only when it lasts for days."""

from typing import Any

import numpy as np
import pytest

from models.watching.class_mix import (
    DAYS_NEEDED,
    MIX_WEIGHT,
    class_biases,
    class_mix,
    label_shares,
    mix_signal,
)
from models.watching.signals import Shift, Signal
from tests.models.watching.lives import POLICY, clean, images

RNG = np.random.default_rng(0)
BASE = np.full(4, 0.25)


def test_the_mix_of_a_window_is_estimated_within_sampling_error() -> None:
    shares = np.array([0.7, 0.2, 0.1, 0.0])
    window = images(RNG.choice(4, 2000, p=shares), RNG)
    mix = class_mix(window.outputs, BASE, np.ones(2000))
    assert mix == pytest.approx(shares, abs=0.05)
    assert mix.sum() == pytest.approx(1)


def test_a_row_counts_by_its_weight_and_a_class_without_reference_gets_no_share() -> None:
    window = images(np.array([0] * 10 + [1] * 50), RNG)
    weights = np.array([1.0] * 10 + [0.02] * 50)
    assert class_mix(window.outputs, BASE, weights)[0] > 0.8
    assert class_mix(window.outputs, np.array([0.0, 0.5, 0.25, 0.25]), np.ones(60))[0] == 0


def test_probabilities_are_shifted_to_the_labels_of_the_reference() -> None:
    reference = clean(500, RNG)
    wrong = reference.outputs * np.array([3.0, 1.0, 1.0, 0.3])
    wrong = wrong / wrong.sum(axis=1, keepdims=True)
    shares = label_shares(wrong, reference.labels)
    corrected = wrong * class_biases(wrong, shares)
    corrected /= corrected.sum(axis=1, keepdims=True)
    assert corrected.mean(axis=0) == pytest.approx(shares.mean(axis=0), abs=0.005)
    unknown = label_shares(wrong, np.full(500, -1))
    assert unknown == pytest.approx(wrong)
    assert label_shares(wrong, None) == pytest.approx(wrong)


def course(mixes: list[np.ndarray]) -> list[Signal]:
    """The signals of hours with these mixes."""
    state: dict[str, Any] = {}
    signals, rng, before = [], np.random.default_rng(1), 0.0
    for mix in mixes:
        window = clean(5, RNG)
        signal, state = mix_signal(window, mix, BASE, state, before, policy=POLICY, rng=rng)
        before = signal.accumulated
        signals.append(signal)
    return signals


def hours(days: int, centre: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Day and night of another mix, and days that differ a little."""
    night = np.array([0.1, 0.1, 0.4, 0.4])
    each = [rng.dirichlet(60 * centre) for _ in range(days)]
    return [day if hour < 12 else night for day in each for hour in range(24)]


def test_day_and_night_do_not_alarm_and_a_change_that_lasts_does() -> None:
    rng = np.random.default_rng(2)
    usual = hours(40, np.array([0.4, 0.4, 0.1, 0.1]), rng)
    quiet = course(usual)
    assert {signal.outcome for signal in quiet} == {Shift.UNKNOWN, Shift.NONE}
    changed = course(usual + hours(20, np.array([0.1, 0.8, 0.05, 0.05]), rng))
    assert changed[len(usual) + 12].outcome == Shift.NONE
    assert changed[-1].outcome == Shift.DRIFT
    assert "most changed is class 1" in changed[-13].meaning
    assert {signal.weight for signal in changed} == {MIX_WEIGHT}


def test_before_a_week_it_cannot_tell_what_is_usual() -> None:
    signals = course(hours(DAYS_NEEDED, BASE, np.random.default_rng(3)))
    assert {signal.outcome for signal in signals[:-1]} == {Shift.UNKNOWN}
    assert "0 whole days were watched, 7 tell what is usual" in signals[0].meaning
    assert signals[-1].outcome == Shift.NONE
    assert {signal.evidence for signal in signals} == {0.0}
