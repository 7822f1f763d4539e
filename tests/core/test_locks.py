"""One writer at a time, and no lock that a dead process leaves behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

import core.locks
from core.database import writing
from core.intents import begin_intent, commit_intent, intents, mark_done
from core.locks import (
    LockBusy,
    LockLost,
    _take,
    fence,
    has_ended,
    locks,
    only_writer,
    this_process,
)
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
    holder = f"{core.locks._machine()}:{os.getpid()}:another-start"
    hold(engine, holder=holder, lease=timedelta(hours=1))
    with only_writer(engine, "git", patience=0):
        pass


def test_a_holder_on_another_machine_keeps_the_lock_until_its_lease_ends(engine, monkeypatch):
    hold(engine, holder="elsewhere:1:1", lease=timedelta(minutes=1))
    with pytest.raises(LockBusy, match="elsewhere"), only_writer(engine, "git", patience=0):
        pass
    hold_over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="microseconds")
    with writing(engine) as connection:
        connection.execute(update(locks).values(lease_until=hold_over))
    monkeypatch.setattr(core.locks, "GRACE_SECONDS", 0.1)
    with only_writer(engine, "git", patience=0):
        pass


def test_a_holder_elsewhere_that_renews_late_keeps_its_lock(engine, monkeypatch):
    """The database was away for longer than the lease: who comes first must not take the lock."""
    monkeypatch.setattr(core.locks, "GRACE_SECONDS", 30.0)
    hold(engine, holder="elsewhere:1:1", lease=timedelta(seconds=-1))

    def renew() -> None:
        until = (datetime.now(UTC) + timedelta(minutes=1)).isoformat(timespec="microseconds")
        with writing(engine) as connection:
            connection.execute(update(locks).values(lease_until=until))

    late = threading.Timer(0.5, renew)
    late.start()
    with pytest.raises(LockBusy, match="elsewhere"), only_writer(engine, "git", patience=0):
        pass
    late.join()


def test_a_holder_whose_clock_is_far_ahead_does_not_keep_its_lock_when_it_is_gone(
    engine, monkeypatch
):
    monkeypatch.setattr(core.locks, "LEASE_SECONDS", 0.5)
    hold(engine, holder="elsewhere:1:1", lease=timedelta(days=365))
    with only_writer(engine, "git", patience=0) as token:
        assert token.number == 2


def test_a_holder_whose_clock_is_far_ahead_keeps_its_lock_while_it_renews_it(engine, monkeypatch):
    monkeypatch.setattr(core.locks, "LEASE_SECONDS", 30.0)
    hold(engine, holder="elsewhere:1:1", lease=timedelta(days=365))

    def renew() -> None:
        until = (datetime.now(UTC) + timedelta(days=365)).isoformat(timespec="microseconds")
        with writing(engine) as connection:
            connection.execute(update(locks).values(lease_until=until))

    renewal = threading.Timer(0.5, renew)
    renewal.start()
    with pytest.raises(LockBusy, match="elsewhere"), only_writer(engine, "git", patience=0):
        pass
    renewal.join()


def test_a_living_holder_of_this_machine_keeps_its_lock_beyond_its_lease(engine):
    parent = psutil.Process(os.getppid())
    holder = f"{core.locks._machine()}:{parent.pid}:{core.locks._start_time(parent)}"
    hold(engine, holder=holder, lease=timedelta(hours=-1))
    with pytest.raises(LockBusy, match="held by"), only_writer(engine, "git", patience=0):
        pass


def test_a_suspended_holder_loses_its_lock_when_its_lease_ends(engine, monkeypatch):
    monkeypatch.setattr(core.locks, "GRACE_SECONDS", 0.1)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        start = core.locks._start_time(psutil.Process(child.pid))
        holder = f"{core.locks._machine()}:{child.pid}:{start}"
        hold(engine, holder=holder, lease=timedelta(hours=-1))
        with pytest.raises(LockBusy), only_writer(engine, "git", patience=0):
            pass
        child.send_signal(signal.SIGSTOP)
        while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        with only_writer(engine, "git", patience=0):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_process_of_another_container_with_the_same_host_name_is_not_declared_dead(engine):
    host = core.locks._machine().split("/")[0]
    hold(engine, holder=f"{host}/0badb007/4026532000:999999:1.00", lease=timedelta(minutes=1))
    with pytest.raises(LockBusy), only_writer(engine, "git", patience=0):
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


def test_a_lease_is_renewed_again_after_whatever_errors_of_the_database(engine, monkeypatch):
    errors: list[Exception] = [
        OperationalError("UPDATE locks", {}, Exception("database is locked")),
        InterfaceError("UPDATE locks", {}, Exception("the connection is closed")),
        ProgrammingError("UPDATE locks", {}, Exception("the server is starting up")),
        PoolTimeout("no connection is free"),
    ]

    def failing(engine: Engine) -> AbstractContextManager[Connection]:
        if threading.current_thread() is not threading.main_thread() and errors:
            raise errors.pop()
        return writing(engine)

    monkeypatch.setattr(core.locks, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(core.locks, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(core.locks, "writing", failing)
    with only_writer(engine, "git") as token:
        assert next_lease(engine)
        assert not errors
        token.check()


def test_a_holder_notices_at_its_next_renewal_that_the_lock_is_lost(engine, monkeypatch):
    monkeypatch.setattr(core.locks, "LEASE_SECONDS", 0.2)
    with only_writer(engine, "git") as token:
        token.check()
        with writing(engine) as connection:
            connection.execute(update(locks).values(token=token.number + 1, holder="elsewhere:1:1"))
        deadline = time.monotonic() + 60
        with pytest.raises(LockLost, match="run it again"):
            while time.monotonic() < deadline:
                token.check()
                time.sleep(0.01)


def test_a_lock_that_was_taken_by_a_commit_without_an_answer_is_taken_again(engine, monkeypatch):
    commit = engine.dialect.do_commit

    def lose_the_answer(raw):
        commit(raw)
        engine.dialect.do_commit = commit
        raise sqlite3.OperationalError("the connection broke off")

    engine.dialect.do_commit = lose_the_answer
    with pytest.raises(OperationalError, match="broke off"), only_writer(engine, "git"):
        pass
    with only_writer(engine, "git", patience=0) as token:
        assert token.number == 2
        with pytest.raises(LockBusy), only_writer(engine, "git", patience=0):
            pass


def test_a_step_that_is_done_does_not_fail_because_its_lock_cannot_be_freed(engine, monkeypatch):
    def gone(engine: Engine) -> AbstractContextManager[Connection]:
        raise OperationalError("UPDATE locks", {}, Exception("the server closed the connection"))

    monkeypatch.setattr(core.locks, "RETRY_SECONDS", 0.05)
    with only_writer(engine, "git"):
        monkeypatch.setattr(core.locks, "writing", gone)
    monkeypatch.setattr(core.locks, "writing", writing)
    with only_writer(engine, "git"):  # freed once the database is back
        pass


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


@pytest.mark.parametrize(
    "holder",
    ["me", "", "me:1", f"{core.locks._machine()}:-5:1"],
    ids=["a-name", "empty", "no-start", "negative"],
)
def test_a_holder_that_a_person_wrote_is_one_elsewhere(engine, monkeypatch, holder):
    """Such a row stopped every command that writes, with an error that named nothing."""
    monkeypatch.setattr(core.locks, "GRACE_SECONDS", 0.1)
    assert not has_ended(holder)
    hold(engine, holder=holder, lease=timedelta(minutes=1))
    with pytest.raises(LockBusy, match="held by"), only_writer(engine, "git", patience=0):
        pass
    with writing(engine) as connection:
        connection.execute(update(locks).values(lease_until="2026-01-01T00:00:00"))
    with only_writer(engine, "git", patience=0) as token:
        assert token.number == 2


def test_a_process_has_ended_when_it_was_here_and_is_not():
    machine, _, start = this_process().rsplit(":", 2)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert has_ended(f"{machine}:{child.pid}:{start}")
    assert has_ended(f"{machine}:{os.getpid()}:0.00"), "its number went to another process"
    assert not has_ended(this_process())
    assert not has_ended(f"elsewhere/{machine}:{child.pid}:{start}")
