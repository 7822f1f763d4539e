"""The trial under way, read from the release record."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from models.registry.releases import Action, Mode, Release
from models.rollout.trial import current_trial, newest_abort, was_tried

FIRST = Release(1, "a", None, "Ada", "first", "2026-01-01T00:00:00+00:00")


def rows(*changes: Mapping[str, object]) -> list[Release]:
    """The first release, and one row for each change of the state before."""
    made = [FIRST]
    for number, change in enumerate(changes, start=2):
        at = f"2026-01-{number:02d}T00:00:00+00:00"
        words: dict[str, Any] = {"who": "hone", "evidence": None, "released_at": at, **change}
        made.append(replace(made[-1], number=number, **words))
    return made


Change = dict[str, object]
SHADOW: Change = {"challenger": "b", "mode": Mode.SHADOW, "action": Action.SHADOW}
CANARY: Change = {"challenger": "b", "mode": Mode.CANARY, "share": 10.0, "action": Action.CANARY}
OFF: Change = {"challenger": None, "mode": Mode.OFF, "share": 0.0, "action": Action.OFF}
ABORT: Change = OFF | {"action": Action.ABORT}


def test_without_a_challenger_there_is_no_trial() -> None:
    assert current_trial([]) is None
    assert current_trial(rows(SHADOW, OFF)) is None


def test_a_step_begins_when_the_mode_changes_and_the_trial_goes_on() -> None:
    trial = current_trial(rows(SHADOW, CANARY, CANARY | {"share": 20.0}))
    assert trial is not None
    assert (trial.began, trial.step_began, trial.current) == (2, 3, 4)
    assert (trial.step, trial.share, trial.number) == (Mode.CANARY, 20.0, 1)
    assert trial.step_at.startswith("2026-01-03")
    back = current_trial(rows(SHADOW, CANARY, SHADOW))
    assert back is not None and back.step_began == 4 and back.began == 2


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ([SHADOW], 1),
        ([SHADOW, OFF, SHADOW], 2),
        ([SHADOW, ABORT, SHADOW], 1),  # evidence ended it: its chance is given back
        ([SHADOW, ABORT | {"who": "Ada"}, SHADOW], 2),
        ([SHADOW, SHADOW | {"challenger": "c"}], 2),
        ([SHADOW, SHADOW | {"champion": "c"}], 2),
    ],
)
def test_the_number_of_a_trial_counts_those_that_evidence_did_not_end(
    changes: list[dict[str, object]], number: int
) -> None:
    trial = current_trial(rows(*changes))
    assert trial is not None and trial.number == number


def test_whoever_placed_the_challenger_holds_it_unless_that_was_the_loop() -> None:
    assert current_trial(rows(SHADOW)).held_by is None  # type: ignore[union-attr]
    held = current_trial(rows(SHADOW, CANARY | {"who": "Ada"}))
    assert held is not None and held.held_by == "Ada"
    cascade: Change = {"front": "f", "front_threshold": 0.5, "action": Action.CASCADE, "who": "Ada"}
    assert current_trial(rows(SHADOW, cascade)).held_by is None  # type: ignore[union-attr]


def test_the_front_model_of_a_trial_is_the_one_that_was_there_all_through_it() -> None:
    behind: Change = {"front": "f", "front_threshold": 0.5}
    one = current_trial(rows(SHADOW | behind, CANARY | behind))
    assert one is not None and (one.has_front, one.front, one.began_at) == (
        True, "f", rows(SHADOW)[-1].released_at
    )  # fmt: skip
    for other in (SHADOW, SHADOW | behind | {"front_threshold": 0.6}):
        changed = current_trial(rows(other, CANARY | behind))
        assert changed is not None and changed.has_front and changed.front is None
    none = current_trial(rows(SHADOW))
    assert none is not None and not none.has_front and none.front is None


def test_an_abort_is_found_with_what_it_ended() -> None:
    assert newest_abort(rows(SHADOW, OFF)) is None
    assert newest_abort(rows(SHADOW, ABORT | {"who": "Ada"})) is None
    newest = newest_abort(rows(SHADOW, ABORT, SHADOW))
    assert newest is not None
    assert (newest[0].challenger, newest[1].number) == ("b", 3)


def test_a_verdict_begins_one_trial() -> None:
    record = rows(SHADOW | {"evidence": {"verdict": "v1"}}, OFF)
    assert was_tried(record, "v1")
    assert not was_tried(record, "v2")
