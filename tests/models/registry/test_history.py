"""Releases and verdicts of the past, newest first and bounded."""

from pathlib import Path

from sqlalchemy import Engine

from models.registry.history import past_releases, past_verdicts
from tests.models.registry.named_models import A, B, by_hand, challenge, go_back, promote
from tests.models.saved_models import judge, make_workspace, put_in_service, save


def test_each_change_says_what_it_changed(engine: Engine) -> None:
    promote(engine, A)
    challenge(engine, B)
    challenge(engine, B, 10)
    by_ada = by_hand(engine, B)
    go_back(engine, to=A, who="Bob")
    with engine.connect() as connection:
        changes = [
            (one.version, one.words(), one.mark()) for one in past_releases(connection, most=9)
        ]
    assert changes == [
        (A, "rollback", "release 5: rollback"),
        (B, "release", f"release {by_ada}"),
        (A, f"canary {B} at 10 %", f"release 3: canary {B} at 10 %"),
        (A, f"shadow {B}", f"release 2: shadow {B}"),
        (A, "release", "release 1"),
    ]


def test_the_newest_releases_and_verdicts_come_first(tmp_path: Path) -> None:
    workspace, engine = make_workspace(tmp_path / "work")
    with engine.connect() as connection:
        assert past_releases(connection, most=9) == [] == past_verdicts(connection, most=9)
    first, second = save(workspace, engine, 0), save(workspace, engine, 1)
    put_in_service(engine, first)
    put_in_service(engine, second)
    judge(engine, first, "HOLD")
    with engine.connect() as connection:
        released = past_releases(connection, most=9)
        verdicts = past_verdicts(connection, most=9)
        assert past_releases(connection, most=1) == released[:1]
        assert past_verdicts(connection, most=1) == verdicts[:1]
    assert [(one.number, one.version) for one in released] == [(2, second), (1, first)]
    assert {one.snapshot for one in released} == {"snapshot-0001"}
    assert released[0].verdict_id == verdicts[1].verdict_id
    assert [(one.outcome, one.challenger, one.champion) for one in verdicts] == [
        ("HOLD", first, second), ("PROMOTE", second, first), ("PROMOTE", first, None),
    ]  # fmt: skip
    assert verdicts[0].accuracy is None  # it has no interval, so that it is no figure to show
