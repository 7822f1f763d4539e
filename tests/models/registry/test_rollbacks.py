"""A rollback restores what a person or a verdict stood for, and undoes no person's decision."""

import pytest
from sqlalchemy import Engine

from models.registry.releases import Action, Mode, champion, current_release
from tests.models.registry.named_models import (
    A,
    B,
    C,
    D,
    by_hand,
    challenge,
    go_back,
    promote,
)


def test_a_flows_rollback_restores_the_release_before_alone(engine: Engine) -> None:
    promote(engine, A)
    promote(engine, B)
    challenge(engine, C, 10)
    assert go_back(engine) == 4
    current = current_release(engine)
    assert current is not None
    assert (current.champion, current.challenger, current.mode) == (A, None, Mode.OFF)
    assert (current.action, current.evidence) == (Action.ROLLBACK, {"from": B, "to_release": 1})
    assert current.verdict_id is not None


def test_what_was_rolled_back_from_is_never_gone_back_to(engine: Engine) -> None:
    for version in (A, B, C):
        promote(engine, version)
    go_back(engine)  # C was bad
    promote(engine, D)
    go_back(engine)
    assert champion(engine) == B
    go_back(engine)
    assert champion(engine) == A
    with pytest.raises(ValueError, match="no release before hone:0001-a to go back to"):
        go_back(engine)


def test_what_a_person_released_is_gone_back_to_and_not_past(engine: Engine) -> None:
    promote(engine, A)
    by_hand(engine, B)
    promote(engine, C)
    go_back(engine)
    assert champion(engine) == B
    for who in ("hone watch", "Bob"):  # the flow's rollback to B rests on Ada's word
        with pytest.raises(ValueError, match=r"person's decision \(release 2 by Ada: her word\)"):
            go_back(engine, who=who)
    assert champion(engine) == B


def test_a_persons_rollback_is_a_decision_too(engine: Engine) -> None:
    for version in (A, B, C):
        promote(engine, version)
    go_back(engine, who="Bob")
    assert champion(engine) == B
    with pytest.raises(ValueError, match=r"release 4 by Bob.*hone rollback --to VERSION"):
        go_back(engine, who="Bob")  # pressed twice, it goes back once


def test_a_person_who_confirmed_the_champion_is_not_passed(engine: Engine) -> None:
    promote(engine, A)
    by_hand(engine, B)
    promote(engine, B)
    with pytest.raises(ValueError, match="was released by a person's decision"):
        go_back(engine)


def test_a_named_person_chooses_any_version_that_was_released(engine: Engine) -> None:
    promote(engine, A)
    by_hand(engine, B)
    promote(engine, C)
    assert go_back(engine, to=A, who="Bob") == 4
    assert champion(engine) == A
    assert go_back(engine, to=C, who="Bob") == 5  # even one that was rolled back from


def test_a_choice_that_cannot_be_is_an_error(engine: Engine) -> None:
    with pytest.raises(ValueError, match="nothing was released yet"):
        go_back(engine)
    promote(engine, A)
    challenge(engine, B, 10)
    with pytest.raises(ValueError, match="no release before"):
        go_back(engine)
    with pytest.raises(ValueError, match=f"0002-b was never released; released were: {A}"):
        go_back(engine, to=B, who="Bob")
    with pytest.raises(ValueError, match="is in service"):
        go_back(engine, to=A, who="Bob")
    with pytest.raises(ValueError, match="'hone watch' is no person"):
        go_back(engine, to=A)
