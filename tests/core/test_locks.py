"""One writer at a time, and no lock that a dead process leaves behind."""

import os
import signal
import threading
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from sqlalchemy import Engine, select, update

from core.database import connect, writing
from core.intents import begin_intent, intents
from core.locks import LockBusy, LockLost, fence, locks, only_writer
from tests.core.killed import killed


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


def test_a_dead_process_that_its_parent_has_not_reaped_leaves_no_lock_behind(engine):
    engine.dispose()
    child = os.fork()
    if child == 0:
        only_writer(connect(str(engine.url)), "git").__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    with only_writer(engine, "git", patience=0) as token:
        assert token.number == 2
    os.waitpid(child, 0)


def test_a_holder_that_may_not_be_examined_keeps_its_lock(engine, monkeypatch):
    def refuse(process: psutil.Process) -> str:
        raise psutil.AccessDenied(process.pid)

    with only_writer(engine, "git"):
        monkeypatch.setattr(psutil.Process, "status", refuse)
        with pytest.raises(LockBusy), only_writer(engine, "git", patience=0):
            pass


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
