"""The release pointer: what is in service was judged, and changes once."""

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, select

from core.database import writing
from core.journal import insert
from models.registry import releases as registry
from models.registry.challengers import end_challenger, set_front
from models.registry.releases import (
    Action,
    Mode,
    Superseded,
    champion,
    current_release,
    release_rows,
    releasing_verdict,
    tenure_of,
)
from tests.models.registry.named_models import (
    A,
    B,
    C,
    by_hand,
    challenge,
    go_back,
    judge,
    number,
    promote,
    put,
)


def test_before_the_first_release_nothing_is_in_service(engine: Engine) -> None:
    assert current_release(engine) is None
    assert champion(engine) is None


def test_a_promoted_model_is_released(engine: Engine) -> None:
    assert put(engine, A, judge(engine, A, None), 0) == 1
    assert put(engine, B, judge(engine, B, A), 1) == 2
    current = current_release(engine)
    assert current is not None
    assert (current.number, current.champion, current.who) == (2, B, "hone retrain")


def test_releasing_twice_is_once(engine: Engine) -> None:
    verdict = judge(engine, A, None)
    assert [put(engine, A, verdict, 0), put(engine, A, verdict, 0), put(engine, A, verdict, 1)] == [
        1, 1, 1
    ]  # fmt: skip


@pytest.mark.parametrize("outcome", ["HOLD", "REJECT"])
def test_without_a_promote_verdict_nothing_is_released(engine: Engine, outcome: str) -> None:
    verdict = judge(engine, A, None, outcome)
    with pytest.raises(ValueError, match=f"{outcome} of {A}, a PROMOTE verdict"):
        put(engine, A, verdict, 0)
    with pytest.raises(ValueError, match="no verdict"):
        put(engine, A, None, 0)
    assert champion(engine) is None


def test_a_verdict_on_another_model_does_not_count(engine: Engine) -> None:
    with pytest.raises(ValueError, match=f"PROMOTE of {B}"):
        put(engine, A, judge(engine, B, None), 0)


def test_a_verdict_against_a_past_champion_does_not_count(engine: Engine) -> None:
    late = judge(engine, C, None)
    put(engine, A, judge(engine, A, None), 0)
    with pytest.raises(Superseded, match=f"judged against no champion, but {A}"):
        put(engine, C, late, 1)
    assert champion(engine) == A


def test_a_release_made_meanwhile_supersedes(engine: Engine) -> None:
    mine, other = judge(engine, B, None), judge(engine, C, None)
    put(engine, C, other, 0)
    with pytest.raises(Superseded, match="release 0 was expected, 1 is current"):
        put(engine, B, mine, 0)


def test_of_releases_made_at_the_same_time_one_wins(engine: Engine) -> None:
    judged = {version: judge(engine, version, None) for version in (A, B, C)}
    ready = threading.Barrier(3)
    outcomes: list[int | str] = []

    def race(version: str) -> None:
        ready.wait()
        try:
            outcomes.append(put(engine, version, judged[version], 0))
        except Superseded:
            outcomes.append("superseded")

    threads = [threading.Thread(target=race, args=(version,)) for version in judged]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [1, "superseded", "superseded"]


def test_a_named_person_may_override_a_verdict(engine: Engine) -> None:
    held = judge(engine, A, None, "HOLD")
    assert put(engine, A, held, 0, who="Ada", why="the old one is worse", override=True) == 1
    assert put(engine, B, None, 1, who="Ada", why="a try", override=True) == 2
    assert put(engine, A, None, 2, who="Ada", why="back again", override=True) == 3


@pytest.mark.parametrize("who", ["hone", "hone retrain", " "])
def test_an_override_needs_a_person(engine: Engine, who: str) -> None:
    with pytest.raises(ValueError, match=r"person|needs who"):
        put(engine, A, None, 0, who=who, override=True)


def test_an_override_needs_a_reason_and_a_model(engine: Engine) -> None:
    with pytest.raises(ValueError, match="needs who"):
        put(engine, A, None, 0, who="Ada", why="", override=True)
    with pytest.raises(ValueError, match="no model 'hone:0009-z'"):
        put(engine, "hone:0009-z", None, 0, who="Ada", override=True)


def test_a_row_of_before_challengers_were_known_is_a_release_alone(engine: Engine) -> None:
    with writing(engine) as connection:
        old: dict[str, Any] = {
            "number": 1,
            "champion": A,
            "verdict_id": None,
            "who": "Ada",
            "why": "old",
            "released_at": "2026-01-01T00:00:00+00:00",
        }
        insert(connection, registry.releases, [old])
        row = connection.execute(select(registry.releases)).one()
    assert (row.mode, row.action, row.challenger) == (None, None, None)
    current = current_release(engine)
    assert current is not None and current == registry.Release(**old)
    assert (current.mode, current.action, current.share) == (Mode.OFF, Action.RELEASE, 0)


def test_a_release_that_a_newer_hone_made_is_named(engine: Engine) -> None:
    with writing(engine) as connection:
        row = {"number": 1, "champion": A, "who": "Ada", "why": "new", "mode": "mirror",
               "released_at": "2026-01-01T00:00:00+00:00"}  # fmt: skip
        insert(connection, registry.releases, [row])
    with pytest.raises(ValueError, match="release 1 cannot be read: 'mirror' is not a valid Mode"):
        current_release(engine)


def test_the_newest_number_counts_whatever_the_clocks_say(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(engine, A)
    monkeypatch.setattr(registry, "now", lambda: "2001-01-01T00:00:00+00:00")
    by_hand(engine, B)
    current = current_release(engine)
    assert current is not None
    assert (current.champion, current.released_at[:4]) == (B, "2001")


def test_a_shadow_leaves_the_tenure_of_the_champion_and_its_verdict(engine: Engine) -> None:
    promote(engine, A)
    challenge(engine, B)
    with engine.connect() as connection:
        tenure, rows = tenure_of(connection), release_rows(connection)
    assert tenure == rows[0] and tenure.number == 1
    assert rows[1].verdict_id == rows[0].verdict_id == releasing_verdict(engine, A)


def test_a_release_ends_challenger_and_front(engine: Engine) -> None:
    promote(engine, A)
    challenge(engine, B, 10)
    promote(engine, C)
    current = current_release(engine)
    assert current is not None
    assert (current.champion, current.challenger, current.mode, current.share) == (
        C, None, Mode.OFF, 0
    )  # fmt: skip


@pytest.mark.parametrize("before", ["hone", "Ada", "Bob"])
def test_a_person_who_releases_the_champion_stands_for_it_and_ends_what_is_beside_it(
    engine: Engine, before: str
) -> None:
    if before == "hone":
        promote(engine, A)
    else:
        by_hand(engine, A, who=before)
        assert by_hand(engine, A) == 1  # a person stands for it, and nothing is beside it
    challenge(engine, B, 10, who="Bob")
    set_front(engine, front=C, threshold=0.9, who="Bob", why="cheaper", expected=2)
    assert by_hand(engine, A) == 4
    current = current_release(engine)
    assert current is not None
    assert (current.champion, current.who, current.action) == (A, "Ada", Action.RELEASE)
    assert (current.challenger, current.mode, current.front) == (None, Mode.OFF, None)
    assert by_hand(engine, A) == 4
    with pytest.raises(ValueError, match="was withdrawn by release 4"):  # a person ended it
        put(engine, B, judge(engine, B, A), 4)


def test_a_flow_that_releases_the_champion_again_leaves_what_is_beside_it(engine: Engine) -> None:
    verdict = judge(engine, A, None)
    put(engine, A, verdict, 0)
    challenge(engine, B, 10)
    assert put(engine, A, verdict, 2) == 2


@pytest.mark.parametrize("end", ["rollback", "abort", "off by a person"])
def test_a_flow_does_not_release_again_what_was_withdrawn(engine: Engine, end: str) -> None:
    promote(engine, A)
    if end == "rollback":
        promote(engine, B)
        go_back(engine)
    else:
        challenge(engine, B, 10)
        action = Action.ABORT if end == "abort" else Action.OFF
        who = "hone watch" if end == "abort" else "Ada"
        end_challenger(engine, who=who, why="worse", expected=number(engine), action=action)
    verdict = judge(engine, B, A)
    with pytest.raises(ValueError, match=r"0002-b was withdrawn by release 3 .*named person"):
        put(engine, B, verdict, number(engine))
    with pytest.raises(ValueError, match="was withdrawn"):
        challenge(engine, B, 10, who="hone", verdict_id=verdict)
    challenge(engine, B, 10)  # a person puts it up again
    assert put(engine, B, verdict, number(engine)) == 5
