"""Halts: by the watch until a release, by a person until a person; each is on record."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from core.database import connect, upgrade, writing
from models.registry.halts import (
    HaltPolicy,
    add_halt,
    current_halt,
    last_halt,
)
from tests.models.halting import halt_service, resume_service
from tests.models.registry.named_models import A, B, C, add_models, challenge, go_back, promote
from tests.models.saved_models import make_workspace, put_in_service, save

REFUSE, ABSTAIN = HaltPolicy.REFUSE, HaltPolicy.ABSTAIN


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    return engine


def halt_by_watch(engine: Engine) -> int:
    with writing(engine) as connection:
        return add_halt(
            connection, policy=REFUSE, who="hone", why="accuracy .3", decision_id="decision-1"
        )


def test_a_halt_holds_until_a_person_resumes(engine: Engine) -> None:
    assert current_halt(engine) is None
    assert halt_service(engine, policy=ABSTAIN, who="ann", why="wrong labels") == 1
    halt = current_halt(engine)
    assert halt is not None
    assert (halt.policy, halt.who, halt.why, halt.release) == (ABSTAIN, "ann", "wrong labels", None)
    assert resume_service(engine, who="bob", why="the camera is repaired") == 1
    assert current_halt(engine) is None
    with engine.connect() as connection:
        lifted = last_halt(connection)
    assert lifted is not None
    assert (lifted.lifted_by, lifted.lifted_why) == ("bob", "the camera is repaired")


def test_a_halt_in_force_is_not_doubled(engine: Engine) -> None:
    assert halt_service(engine, policy=REFUSE, who="ann", why="one") == 1
    assert halt_service(engine, policy=REFUSE, who="bob", why="two") == 1
    resume_service(engine, who="ann", why="over")
    assert halt_service(engine, policy=REFUSE, who="bob", why="two") == 2


def test_a_persons_halt_takes_the_place_of_the_watchs_and_of_another_policy(
    tmp_path: Path,
) -> None:
    workspace, engine = make_workspace(tmp_path / "workspace")
    put_in_service(engine, save(workspace, engine))
    assert halt_by_watch(engine) == 1
    assert halt_service(engine, policy=ABSTAIN, who="ann", why="stop") == 2
    assert halt_by_watch(engine) == 2  # the watch does not weaken a person's word
    put_in_service(engine, save(workspace, engine, seed=1))
    halt = current_halt(engine)
    assert halt is not None and (halt.policy, halt.who) == (ABSTAIN, "ann")
    assert halt_service(engine, policy=REFUSE, who="bob", why="all of it") == 3
    halt = current_halt(engine)
    assert halt is not None and (halt.policy, halt.who) == (REFUSE, "bob")


def test_a_halt_of_the_watch_ends_with_the_next_release_and_one_by_a_person_does_not(
    tmp_path: Path,
) -> None:
    workspace, engine = make_workspace(tmp_path / "workspace")
    put_in_service(engine, save(workspace, engine))
    halt_by_watch(engine)
    assert current_halt(engine) is not None
    put_in_service(engine, save(workspace, engine, seed=1))
    assert current_halt(engine) is None
    halt_service(engine, policy=REFUSE, who="ann", why="stop")
    put_in_service(engine, save(workspace, engine, seed=2))
    assert current_halt(engine) is not None


def test_a_halt_of_the_watch_ends_with_a_rollback_and_not_with_a_shadow_or_canary(
    engine: Engine,
) -> None:
    add_models(engine, A, B, C)
    promote(engine, A)
    promote(engine, B)
    halt_by_watch(engine)
    challenge(engine, C)
    challenge(engine, C, 10)
    assert current_halt(engine) is not None
    go_back(engine)
    assert current_halt(engine) is None


def test_only_a_named_person_resumes(engine: Engine) -> None:
    with pytest.raises(ValueError, match="not halted"):
        resume_service(engine, who="ann", why="why")
    halt_by_watch(engine)
    for who, why, message in (
        ("", "why", "needs who"),
        ("ann", " ", "needs who"),
        ("hone watch", "why", "is no person"),
    ):
        with pytest.raises(ValueError, match=message):
            resume_service(engine, who=who, why=why)
    assert current_halt(engine) is not None


def test_a_halt_needs_who_and_why(engine: Engine) -> None:
    with pytest.raises(ValueError, match="needs who"):
        halt_service(engine, policy=REFUSE, who="ann", why="")
    assert current_halt(engine) is None
