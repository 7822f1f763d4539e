"""Evidence of all signals together keeps to the budget, and no quiet signal hides a loud one."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.watching.evidence import (
    accumulate,
    combine,
    from_p_value,
    known_weights,
    restarted,
)
from models.watching.outcome_signals import accumulated_wealth, bets, mean_wealth
from models.watching.signals import Family, Shift, Signal, WatchPolicy

POLICY = WatchPolicy()
QUIET = Signal("quiet", Family.INPUTS, Shift.NONE, None, None, 0.0, -1.0, None, 9, 9, "")


def loud(accumulated: float, weight: float = 1.0) -> Signal:
    return replace(QUIET, name="loud", accumulated=accumulated, weight=weight)


def test_a_p_value_is_an_e_value_of_mean_one() -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000
    assert np.mean([math.exp(from_p_value(p)) for p in grid]) == pytest.approx(1, abs=0.05)
    assert from_p_value(1e-6) > 8
    assert from_p_value(1.0) < 0
    assert from_p_value(math.nan) == 0.0
    assert math.isfinite(from_p_value(0.0))


def test_evidence_accumulates_and_starts_again_from_one() -> None:
    assert accumulate(2.0, 1.5) == 3.5
    assert accumulate(-4.0, 1.5) == 1.5
    assert accumulate(2.0, -5.0) == -3.0


def test_the_mean_of_all_signals_is_weighed_against_the_budget() -> None:
    threshold = math.log(2160)
    alone = combine([loud(threshold)], POLICY, 10)
    assert (alone.alarm, alone.threshold) == (True, pytest.approx(threshold))
    shared = combine([loud(threshold), QUIET], POLICY, 10)
    assert not shared.alarm
    assert shared.ranking == ("loud", "quiet")
    assert combine([loud(threshold + math.log(2)), QUIET], POLICY, 10).alarm
    heavy = combine([loud(threshold + 0.02, weight=99.0), QUIET], POLICY, 10)
    assert heavy.alarm
    note = combine([loud(50.0, weight=0.0), QUIET], POLICY, 10)
    assert not note.alarm
    assert note.ranking == ("quiet",)
    nothing = combine([], POLICY, 1)
    assert (nothing.alarm, nothing.ranking) == (False, ())


def test_checks_beyond_the_plan_raise_the_threshold_so_the_budget_holds() -> None:
    assert combine([QUIET], POLICY, 216).spent == pytest.approx(0.1)
    often = combine([QUIET], POLICY, 21_600)
    assert often.threshold == pytest.approx(math.log(21_600))
    assert often.spent == 1.0
    generous = combine([QUIET], replace(POLICY, alarms_per_quarter=2.0), 2160)
    assert (generous.threshold, generous.spent) == (pytest.approx(math.log(1080)), 2.0)


def test_clean_signals_alarm_no_oftener_than_the_budget() -> None:
    policy, rng, alarms = WatchPolicy(alarms_per_quarter=20), np.random.default_rng(1), 0
    for _ in range(5):
        levels = [0.0] * 3
        for p_values in rng.random((2160, 3)):
            evidence = map(from_p_value, p_values)
            levels = list(map(accumulate, levels, evidence))
            if combine([loud(level) for level in levels], policy, 2160).alarm:
                alarms, levels = alarms + 1, [0.0] * 3
    assert 5 < alarms <= 100  # 5 quarters of at most 20; the bound is not met by silence


@pytest.mark.parametrize(
    ("outcomes_each", "images_share"),
    [(1, 1.0), (24, 1.0), (10, 1.0), (1, 0.3)],
    ids=["each check", "late, a day at once", "sometimes", "without traffic mostly"],
)
def test_images_and_outcomes_together_keep_to_the_one_budget(
    outcomes_each: int, images_share: float
) -> None:
    """A model exactly at the edge of its decay, in a quarter of hourly checks, several times."""
    rng, alarms = np.random.default_rng(2), 0
    weights = {"images": 1.0, **dict.fromkeys(("accuracy", "f1", "recall"), 0.25)}
    quarters = 3
    for _ in range(quarters):
        levels, state = dict.fromkeys(weights, 0.0), dict[str, Any]()
        for check in range(2160):
            present = ["images"] if rng.random() < images_share else []
            if check % outcomes_each == 0:
                present += ["accuracy", "f1", "recall"]
            for name in present:
                truths = rng.choice([-0.8, 0.2], 8, p=[0.2, 0.8])
                if name == "images":
                    levels[name] = accumulate(levels[name], from_p_value(rng.random()))
                    continue
                wealth = accumulated_wealth(state, name, bets(truths, 0.2))
                levels[name] = mean_wealth(wealth)
                state.setdefault("wealth", {})[name] = wealth
                state.setdefault("accumulated", {})[name] = levels[name]
            signals = [
                Signal(
                    name, Family.INPUTS if name == "images" else Family.OUTCOMES, Shift.NONE, None,
                    None, 0.0, levels[name], None, 9, 9, "", weight=weights[name],
                )
                for name in present
            ]  # fmt: skip
            made = combine(signals, POLICY, 2160, weights)
            assert made.alarm or not made.decay
            if made.alarm:
                alarms, levels = alarms + 1, dict.fromkeys(weights, 0.0)
                state = restarted(state)
    assert alarms <= quarters  # a threshold of its own, 100 to 1, gave up to 2.8 a quarter


def test_a_signal_that_is_missing_leaves_the_others_their_share_of_the_budget() -> None:
    threshold = math.log(2160)
    outcome = replace(loud(threshold + 1.0, 0.25), family=Family.OUTCOMES)
    alone = combine([outcome], POLICY, 1)
    assert alone.alarm and alone.decay
    weights = known_weights({}, [loud(0.0), replace(outcome, name="f1")], POLICY)
    shared = combine([outcome], POLICY, 1, weights["of"])
    assert not shared.alarm and not shared.decay
    assert combine([replace(outcome, accumulated=12.0)], POLICY, 1, weights["of"]).decay
    lost = known_weights(weights, [replace(QUIET, name="loud", weight=0.0)], POLICY)
    assert lost["of"] == weights["of"]  # a detector that fails is still one of them
    other = replace(POLICY, detectors=("ks",))
    assert known_weights(weights, [outcome], other) == {"detectors": ["ks"], "of": {"loud": 0.25}}


def test_restarting_forgets_what_was_accumulated_and_nothing_else() -> None:
    state = {"accumulated": {"loud": 9.0}, "bets": [1, 2]}
    assert restarted(state) == {"accumulated": {}, "bets": [1, 2]}
