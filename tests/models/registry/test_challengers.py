"""A challenger stands beside the champion by one row, and only one that can be compared."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from core.journal_checks import rows_are_as_journaled
from core.workspace import Workspace
from models.registry.challengers import end_challenger, set_challenger, set_front
from models.registry.releases import (
    Action,
    Mode,
    Release,
    Superseded,
    current_release,
    release_rows,
)
from models.rollout.trial import current_trial
from tests.models.registry.named_models import (
    A,
    B,
    C,
    add_models,
    challenge,
    judge,
    number,
    promote,
)


def current(engine: Engine) -> Release:
    found = current_release(engine)
    assert found is not None
    return found


def end(engine: Engine, **more: object) -> int:
    words = {"who": "Ada", "why": "enough", "expected": number(engine)} | more
    return end_challenger(engine, **words)  # type: ignore[arg-type]


def test_shadow_canary_and_off_are_rows_that_leave_the_champion(engine: Engine) -> None:
    promote(engine, A)
    states = []
    for change in (
        lambda: challenge(engine, B, evidence={"agreement": 0.98}),
        lambda: challenge(engine, B, 10),
        lambda: challenge(engine, B, 50),
        lambda: end(engine),
    ):
        assert change() == number(engine)
        row = current(engine)
        states.append((row.champion, row.challenger, row.mode, row.share, row.action))
    assert states == [
        (A, B, Mode.SHADOW, 0, Action.SHADOW), (A, B, Mode.CANARY, 10, Action.CANARY),
        (A, B, Mode.CANARY, 50, Action.CANARY), (A, None, Mode.OFF, 0, Action.OFF),
    ]  # fmt: skip
    assert number(engine) == 5


def test_the_evidence_is_recorded_and_belongs_to_one_change(engine: Engine) -> None:
    promote(engine, A)
    challenge(engine, B, evidence={"agreement": 0.98})
    assert current(engine).evidence == {"agreement": 0.98}
    end(engine, who="hone watch", action=Action.ABORT, evidence={"errors": 7})
    assert (current(engine).action, current(engine).evidence) == (Action.ABORT, {"errors": 7})


def test_the_same_change_twice_is_one_row(engine: Engine) -> None:
    promote(engine, A)
    assert challenge(engine, B, 10) == challenge(engine, B, 10) == 2
    assert challenge(engine, B, 20) == 3


def test_every_change_is_in_the_journal(engine: Engine, tmp_path: Path) -> None:
    promote(engine, A)
    challenge(engine, B, 10, evidence={"verdict": "verdict-1"})
    end(engine)
    assert [*rows_are_as_journaled(engine, Workspace(tmp_path, "x", "x", (), 16))] == []


def test_a_person_takes_over_what_a_flow_put_in_shadow_and_not_the_other_way(
    engine: Engine,
) -> None:
    promote(engine, A)
    assert challenge(engine, B, who="hone") == 2
    assert challenge(engine, B, who="Ada") == 3
    assert challenge(engine, B, who="hone") == 3
    assert current(engine).who == "Ada"


def test_a_person_takes_over_a_challenger_after_another_change_by_a_person(engine: Engine) -> None:
    """Who changed the release last is not who holds the challenger."""
    promote(engine, A)
    challenge(engine, B, who="hone")
    words: dict[str, Any] = {"front": C, "why": "cheaper"}
    set_front(engine, threshold=0.9, who="Ann", expected=2, **words)
    assert challenge(engine, B, who="hone") == 3
    assert challenge(engine, B, who="Ann") == 4
    with engine.connect() as connection:
        trial = current_trial(release_rows(connection))
    assert trial is not None and trial.held_by == "Ann"
    set_front(engine, threshold=0.8, who="Bob", expected=4, **words)
    assert challenge(engine, B, who="Ann") == 5  # she holds it already


@pytest.mark.parametrize("share", [0.5, 51, 100, -1, float("nan")])
def test_a_share_that_no_canary_has_is_refused(engine: Engine, share: float) -> None:
    promote(engine, A)
    with pytest.raises(ValueError, match="1 to 50 percent"):
        challenge(engine, B, share)
    assert number(engine) == 1


def test_modes_and_shares_belong_together(engine: Engine) -> None:
    promote(engine, A)
    words = {"version": B, "who": "Ada", "why": "x", "expected": 1}
    with pytest.raises(ValueError, match="a shadow answers nobody"):
        set_challenger(engine, mode=Mode.SHADOW, share=5, **words)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="in shadow or canary"):
        set_challenger(engine, mode=Mode.OFF, **words)  # type: ignore[arg-type]


def test_the_champion_an_unknown_model_and_one_with_other_classes_are_refused(
    engine: Engine,
) -> None:
    with pytest.raises(ValueError, match="nothing is in service"):
        challenge(engine, B)
    promote(engine, A)
    add_models(engine, "hone:0008-x", classes=["cat", "dog", "eel"])
    add_models(engine, "hone:0009-y", kind="detection")
    with pytest.raises(ValueError, match="0001-a is the champion itself"):
        challenge(engine, A, 10)
    with pytest.raises(ValueError, match="no model 'hone:0007-z'"):
        challenge(engine, "hone:0007-z", 10)
    with pytest.raises(ValueError, match=r"cat, dog, eel, the champion .* of cat, dog"):
        challenge(engine, "hone:0008-x", 10)
    with pytest.raises(ValueError, match="detection of"):
        challenge(engine, "hone:0009-y")
    assert number(engine) == 1


def test_a_flow_shows_clients_only_what_was_promoted_against_the_champion(engine: Engine) -> None:
    promote(engine, A)
    held = judge(engine, B, A, "HOLD")
    assert challenge(engine, B, who="hone") == 2  # nobody is shown what a shadow answers
    with pytest.raises(ValueError, match="HOLD of"):
        challenge(engine, B, 10, who="hone", verdict_id=held)
    with pytest.raises(Superseded, match="no champion"):
        challenge(engine, B, 10, who="hone", verdict_id=judge(engine, B, None))
    assert challenge(engine, B, 10, who="hone", verdict_id=judge(engine, B, A)) == 3


def test_of_two_people_at_once_one_is_superseded(engine: Engine) -> None:
    promote(engine, A)
    ready, outcomes = threading.Barrier(2), list[object]()

    def race(version: str) -> None:
        ready.wait()
        try:
            outcomes.append(challenge(engine, version, 10, expected=1))
        except Superseded:
            outcomes.append("superseded")

    threads = [threading.Thread(target=race, args=(version,)) for version in (B, C)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [2, "superseded"]


def test_without_a_challenger_there_is_nothing_to_end(engine: Engine) -> None:
    promote(engine, A)
    with pytest.raises(ValueError, match="nothing to end"):
        end(engine)


@pytest.mark.parametrize(("share", "mode"), [(0.0, "shadow"), (10.0, "canary")])
def test_a_model_is_never_both_front_and_challenger(
    engine: Engine, share: float, mode: str
) -> None:
    promote(engine, A)
    words: dict[str, Any] = {"threshold": 0.9, "who": "Ada", "why": "cheaper"}
    set_front(engine, front=B, expected=1, **words)
    for who in ("Ada", "hone"):
        with pytest.raises(ValueError, match=f"{B} is the front model.*`hone cascade off`"):
            challenge(engine, B, share, who=who, verdict_id=judge(engine, B, A))
    challenge(engine, C, share)
    with pytest.raises(ValueError, match=f"{C} is in {mode} .*`hone {mode} --off`"):
        set_front(engine, front=C, expected=3, **words)
    assert number(engine) == 3
    assert set_front(engine, front=B, expected=3, **words | {"threshold": 0.8}) == 4
    assert challenge(engine, C, 20) == 5


def test_a_front_model_is_put_before_the_champion_and_removed(engine: Engine) -> None:
    promote(engine, A)

    def front(version: str | None, threshold: float | None) -> int:
        words = {"who": "Ada", "why": "cheaper", "expected": number(engine)}
        return set_front(engine, front=version, threshold=threshold, **words)  # type: ignore[arg-type]

    assert front(B, 0.9) == 2
    assert (current(engine).front, current(engine).front_threshold) == (B, 0.9)
    assert challenge(engine, C) == 3
    assert (current(engine).front, current(engine).action) == (B, Action.SHADOW)
    assert front(None, None) == 4
    assert (current(engine).front, current(engine).challenger) == (None, C)
    for version, threshold in ((B, None), (None, 0.5), (B, 1.5)):
        with pytest.raises(ValueError, match="threshold from 0 to 1"):
            front(version, threshold)
    with pytest.raises(ValueError, match="the champion itself"):
        front(A, 0.5)
