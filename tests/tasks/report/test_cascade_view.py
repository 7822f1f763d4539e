"""The plans of cascades on a screen: the command to run, and what its confidence is worth."""

from io import StringIO

import numpy as np
from rich.console import Console

from tasks.report.cascade_view import ONCE, show_plans
from tests.models.judging.test_cascade_plan import plan


def shown(front_right: np.ndarray) -> str:
    confidence, right = np.full(len(front_right), 0.97), np.ones(len(front_right), bool)
    screen = StringIO()
    show_plans([plan(confidence, front_right, right)], [0.04], Console(file=screen, width=200))
    return screen.getvalue()


def test_a_threshold_comes_with_its_command_and_the_limit_of_its_confidence() -> None:
    screen = shown(np.ones(1000, bool))
    assert "hone cascade set --front hone:small --threshold" in screen
    assert "over all thresholds of this plan" in screen and ONCE in screen


def test_without_a_threshold_there_is_nothing_to_set() -> None:
    screen = shown(np.zeros(1000, bool))
    assert "no threshold" in screen and "hone cascade set" not in screen and ONCE not in screen
