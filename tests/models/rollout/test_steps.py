"""What follows for a trial."""

import math
from dataclasses import replace

import pytest

from models.rollout.criteria import Criterion
from models.rollout.policy import ReleasePolicy
from models.rollout.steps import Move, Progress, next_move

POLICY = ReleasePolicy(path="shadow", min_requests=100, min_hours=2)
READY = Progress("shadow", requests=100, hours=2, promoted=True)
CALM = Criterion("errors", "share", 0.01, 50, 0.0, 0.0, 8.0)
FIRED = replace(CALM, mean=0.4, log_evidence=9.0)


def test_a_trial_goes_on_when_traffic_and_time_are_in() -> None:
    made = next_move(READY, [CALM], POLICY)
    assert (made.move, made.step) == (Move.ADVANCE, "canary")
    after = next_move(replace(READY, step="canary"), [CALM], POLICY)
    assert (after.move, after.step) == (Move.ADVANCE, "full")
    no_canary = replace(POLICY, canary_share=0)
    assert next_move(READY, [CALM], no_canary).step == "full"


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({"requests": 99}, "1 more images"),
        ({"hours": 0.5}, "1.5 more hours"),
        ({"promoted": False}, "no PROMOTE verdict"),
        ({"held_by": "ann"}, "ann holds it"),
    ],
)
def test_it_waits_and_names_what_for(changes: dict[str, object], waits: str) -> None:
    made = next_move(replace(READY, **changes), [CALM], POLICY)  # type: ignore[arg-type]
    assert made.move == Move.WAIT
    assert any(waits in one for one in made.why)


@pytest.mark.parametrize("changes", [{}, {"held_by": "ann"}, {"requests": 3, "hours": 0.0}])
def test_evidence_ends_it_at_once_even_while_a_person_holds_it(changes: dict[str, object]) -> None:
    made = next_move(replace(READY, **changes), [CALM, FIRED], POLICY)  # type: ignore[arg-type]
    assert made.move == Move.ABORT
    assert "errors" in made.why[0]


def test_a_criterion_that_cannot_tell_never_fires() -> None:
    blind = replace(FIRED, tolerance=None, log_evidence=math.inf)
    assert next_move(READY, [blind], POLICY).move == Move.ADVANCE
