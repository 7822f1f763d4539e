"""The promise for life, seeded and short; `benchmarks/verdicts.py` plays thousands of lives."""

import numpy as np
import pytest

from benchmarks.duels.classes import fallen_classes
from benchmarks.duels.coverage import shown_accuracy
from benchmarks.duels.drift import drifted_traffic
from benchmarks.duels.lives import audit_lives, duel_lives
from benchmarks.duels.play import SCORED, chances_of, drawn, play
from models.judging.alpha_spending import alpha_of
from models.judging.duel import Counts, DuelPlan, Stratum, conclusion, views_of
from models.judging.evidence import Mode
from models.judging.verdict import Outcome


@pytest.mark.parametrize("gain", [0.0, 0.02, 0.05, -0.03])
def test_duels_that_are_played_at_once_end_as_the_rule_says(gain: float) -> None:
    rng, alpha, most = np.random.default_rng(5), np.full(6, alpha_of(2)), 60
    answers = drawn(rng, chances_of(np.full(6, gain), 0.09), most)
    played = play(answers, alpha, np.full(6, 450))
    stratum = Stratum("pool", SCORED, 450)
    plan = DuelPlan(2, alpha_of(2), Mode.BETTER, 0.02, 0.0, most, (stratum,))
    for row, sequence in enumerate(answers):
        last = int(played.answers[row])
        for count in (last - 1, last):
            asked = sequence[:count]
            counts = Counts(*(int((asked == value).sum()) for value in (1, 0, -1)))
            outcome, _ = conclusion(plan, views_of(plan, {"pool": counts}))
            if count < last:
                assert outcome is None
        assert (outcome == Outcome.PROMOTE) == played.promoted[row]
        assert (outcome == Outcome.REJECT) == played.rejected[row]


def test_equal_challengers_are_seldom_promoted_in_a_life() -> None:
    assert duel_lives(0.0, 0.09, 100)[0] <= 0.06
    assert duel_lives(-0.01, 0.09, 100)[0] <= 0.03


def test_the_rule_by_point_estimates_promoted_them_in_most_lives() -> None:
    shares = audit_lives(0.0, 0.09, 250, 100)
    assert shares["audit test"] <= 0.06
    assert shares["before: point estimate"] > 0.5


def test_what_is_better_on_drifted_traffic_is_promoted() -> None:
    drifted = drifted_traffic("equal", "drifted", 1, 15)
    assert drifted["PROMOTE"] >= 0.9
    assert drifted["most traffic answers"] <= 50
    assert drifted_traffic("three points worse", "drifted", 1, 5)["PROMOTE"] == 0


def test_the_figure_that_is_shown_is_right_after_twenty_rounds() -> None:
    shown = shown_accuracy(600, 0.8, 150)
    assert shown["holds"] >= 0.9
    assert abs(shown["bias"]) < 0.02


def test_a_class_that_falls_by_half_is_held_in_95_of_100_lives_with_100_audit_rows() -> None:
    fallen, slightly, risen, equal = fallen_classes(400)
    assert fallen["held in the end"] >= 0.95 and slightly["held in the end"] >= 0.95
    assert risen["held in the end"] <= 0.01 and equal["held in the end"] <= 0.02
    assert all(one["further rounds"] < 1 for one in (fallen, slightly, risen, equal))
