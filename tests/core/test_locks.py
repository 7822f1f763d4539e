"""One writer at a time, and no lock that a dead process leaves behind."""

import os
import signal
import threading
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import OperationalError

import core.locks
from core.database import writing
from core.intents import begin_intent, commit_intent, intents, mark_done
from core.locks import LockBusy, LockLost, _take, fence, locks, only_writer
from tests.core.killed import killed, take_lock


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


def test_of_two_that_see_a_free_lock_one_takes_it(engine):
    with only_writer(engine, "git"):
        pass
    with writing(engine) as connection:  # both saw token 1; the second must look again
        assert _take(connection, "git", 1) is not None
        assert _take(connection, "git", 1) is None


def test_a_killed_process_leaves_no_lock_behind(engine, tmp_path):
    engine.dispose()
    url = str(engine.url)
    killed(lambda: take_lock(url))
    with only_writer(engine, "git", patience=0) as token:
        assert token.number == 2


def test_a_dead_process_that_its_parent_has_not_reaped_leaves_no_lock_behind(engine):
    engine.dispose()
    child = os.fork()
    if child == 0:
        held = take_lock(str(engine.url))  # noqa: F841  a reference, or the lock is released
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


def lease_of(engine: Engine) -> datetime:
    with engine.connect() as connection:
        return datetime.fromisoformat(connection.scalars(select(locks.c.lease_until)).one())


def next_lease(engine: Engine) -> datetime:
    """The lease after its next renewal."""
    before, deadline = lease_of(engine), time.monotonic() + 60
    while (lease := lease_of(engine)) == before:
        assert time.monotonic() < deadline, "the lease was not renewed"
        time.sleep(0.02)
    return lease


def test_a_lease_is_renewed_before_it_ends(engine, monkeypatch):
    monkeypatch.setattr(core.locks, "LEASE_SECONDS", 4.0)
    with only_writer(engine, "git"):
        first = lease_of(engine)
        renewed_at = next_lease(engine) - timedelta(seconds=4)
        assert renewed_at < first


def test_a_lease_is_renewed_although_the_database_was_busy_once(engine, monkeypatch):
    failures = []

    def busy_once(engine: Engine) -> AbstractContextManager[Connection]:
        if threading.current_thread() is not threading.main_thread() and not failures:
            failures.append(1)
            raise OperationalError("UPDATE locks", {}, Exception("database is locked"))
        return writing(engine)

    monkeypatch.setattr(core.locks, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(core.locks, "writing", busy_once)
    with only_writer(engine, "git"):
        assert next_lease(engine)
        assert failures


def test_a_writer_that_was_overtaken_is_refused_and_does_not_free_the_lock(engine):
    with only_writer(engine, "git") as token:
        with writing(engine) as connection:
            connection.execute(update(locks).values(token=token.number + 1, holder="elsewhere:1:1"))
        with pytest.raises(LockLost, match="overtaken by 2"), writing(engine) as connection:
            fence(connection, token)
        with pytest.raises(LockLost), writing(engine) as connection:
            begin_intent(connection, token, kind="k", key="a", payload={})
        for step in (mark_done, commit_intent):
            with pytest.raises(LockLost), writing(engine) as connection:
                step(connection, token, kind="k", key="a")
    with engine.connect() as connection:
        assert connection.scalar(select(locks.c.holder)) == "elsewhere:1:1"
        assert connection.execute(select(intents)).all() == []
