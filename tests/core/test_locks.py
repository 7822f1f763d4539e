"""One writer at a time, and intents that outlive the process that had them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from core.database import connect, metadata, writing
from core.locks import (
    LockBusy,
    LockLost,
    begin_intent,
    commit_intent,
    fence,
    intents,
    locks,
    mark_done,
    only_writer,
    open_intents,
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def killed(work: Callable[[], object]) -> None:
    """Run `work` in a process that kills itself at its end."""
    child = os.fork()
    if child == 0:
        work()
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def hold(engine: Engine, *, holder: str, lease: timedelta) -> None:
    """Put a lock of somebody else into the database."""
    until = (datetime.now(UTC) + lease).isoformat(timespec="microseconds")
    with only_writer(engine, "git"):
        pass
    with writing(engine) as connection:
        connection.execute(update(locks).values(holder=holder, lease_until=until))


def test_each_holder_has_a_higher_token_than_the_one_before(engine):
    numbers = []
    for _ in range(3):
        with only_writer(engine, "git") as token:
            numbers.append(token.number)
    assert numbers == [1, 2, 3]


def test_a_second_writer_is_told_who_has_the_lock(engine):
    with (
        only_writer(engine, "git"),
        pytest.raises(LockBusy, match=rf"held by .*:{os.getpid()}:"),
        only_writer(engine, "git", patience=0),
    ):
        pass


def test_locks_of_two_names_do_not_know_each_other(engine):
    with only_writer(engine, "git"), only_writer(engine, "studio", patience=0):
        pass


def test_writers_at_once_have_it_one_after_the_other(engine):
    inside: list[int] = []
    most: list[int] = []

    def write() -> None:
        for _ in range(3):
            with only_writer(engine, "git"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12


def test_a_killed_process_leaves_no_lock_behind(engine, tmp_path):
    engine.dispose()
    url = str(engine.url)
    killed(lambda: only_writer(connect(url), "git").__enter__())
    with only_writer(engine, "git", patience=0) as token:
        assert token.number == 2


def test_a_process_id_that_was_given_away_again_is_not_taken_for_the_holder(engine):
    host = os.uname().nodename
    hold(engine, holder=f"{host}:{os.getpid()}:another-start", lease=timedelta(hours=1))
    with only_writer(engine, "git", patience=0):
        pass


def test_a_holder_on_another_machine_keeps_the_lock_until_its_lease_ends(engine):
    hold(engine, holder="elsewhere:1:1", lease=timedelta(hours=1))
    with pytest.raises(LockBusy, match="elsewhere"), only_writer(engine, "git", patience=0):
        pass
    hold_over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="microseconds")
    with writing(engine) as connection:
        connection.execute(update(locks).values(lease_until=hold_over))
    with only_writer(engine, "git", patience=0):
        pass


def test_a_writer_that_was_overtaken_is_refused_and_does_not_free_the_lock(engine):
    with only_writer(engine, "git") as token:
        with writing(engine) as connection:
            connection.execute(update(locks).values(token=token.number + 1, holder="elsewhere:1:1"))
        with pytest.raises(LockLost, match="overtaken by 2"), writing(engine) as connection:
            fence(connection, token)
        with pytest.raises(LockLost), writing(engine) as connection:
            begin_intent(connection, token, kind="k", key="a", payload={})
    with engine.connect() as connection:
        assert connection.scalar(select(locks.c.holder)) == "elsewhere:1:1"
        assert connection.execute(select(intents)).all() == []


def test_what_was_decided_first_holds(engine):
    with only_writer(engine, "git") as token, writing(engine) as connection:
        first = begin_intent(connection, token, kind="k", key="a", payload={"n": 1})
        again = begin_intent(connection, token, kind="k", key="a", payload={"n": 2})
    assert first == again == {"n": 1}


def test_an_intent_outlives_the_process_that_had_it(engine):
    engine.dispose()
    url = str(engine.url)

    def decide() -> None:
        mine = connect(url)
        token = only_writer(mine, "git").__enter__()
        with writing(mine) as connection:
            begin_intent(connection, token, kind="k", key="a", payload={"n": 1})

    killed(decide)
    with engine.connect() as connection:
        assert open_intents(connection, "k") == {"a": {"n": 1}}
        assert open_intents(connection, "other") == {}


def test_a_confirmed_intent_is_closed_with_its_outcome_and_stays_closed(engine):
    with only_writer(engine, "git") as token, writing(engine) as connection:
        for key in ("b", "a"):
            begin_intent(connection, token, kind="k", key=key, payload={})
        mark_done(connection, token, kind="k", key="b")
        commit_intent(connection, token, kind="k", key="b", outcome="sent")
        commit_intent(connection, token, kind="k", key="b", outcome="again")
        assert list(open_intents(connection, "k")) == ["a"]
        row = connection.execute(select(intents).where(intents.c.key == "b")).one()
    assert row.outcome == "sent"
    assert row.intended_at <= row.acted_at <= row.confirmed_at


def test_open_intents_come_oldest_first(engine):
    with only_writer(engine, "git") as token, writing(engine) as connection:
        for key in "cab":
            begin_intent(connection, token, kind="k", key=key, payload={})
        assert list(open_intents(connection, "k")) == ["c", "a", "b"]
