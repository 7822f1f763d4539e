"""One writer at a time: locks in the database, each acquisition with a rising fencing token."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Column, Connection, Engine, Integer, Table, Text, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from core.database import metadata, now, writing

log = logging.getLogger(__name__)
LEASE_SECONDS = 60.0  # a holder elsewhere that does not renew for this long may be gone
RETRY_SECONDS = 1.0  # after a renewal that failed
GRACE_SECONDS = 3.0  # before an expired lock is taken: a holder that reconnects renews it meanwhile

# Address of the database, name and token of the locks that this process holds or is taking. A row
# in its name that is not among them was taken by a commit whose answer got lost.
_HELD: set[tuple[str, str, int]] = set()

locks = Table(
    "locks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("token", Integer, nullable=False),
    Column("holder", Text),  # machine:process id:start of that process; null = free
    Column("lease_until", Text),
)


class LockState(Enum):
    """What a row of `locks` says to somebody who wants the lock."""

    FREE = "nobody holds it"
    HELD = "a living process holds it"
    EXPIRED = "its holder elsewhere has not renewed it in time"
    AHEAD = "its lease ends later than any does: a clock is wrong, only renewals tell"


UNCERTAIN = (LockState.EXPIRED, LockState.AHEAD)  # until it is known whether it is renewed


class LockLost(RuntimeError):
    """The lock went to another process meanwhile: whatever was about to be written is not."""


class LockBusy(RuntimeError):
    """Another live process holds the lock, and went on holding it."""


@dataclass(frozen=True)
class Token:
    """Proof of being the one writer of `name`; a later holder has a higher number."""

    name: str
    number: int
    _lost: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)

    def check(self) -> None:
        """Raise `LockLost` once a renewal failed because the lock passed on; asks no database."""
        if self._lost.is_set():
            raise LockLost(_lost(self, "another process"))

    def mark_lost(self) -> None:
        """Let every later `check` raise."""
        self._lost.set()


@contextmanager
def only_writer(engine: Engine, name: str, patience: float = 60.0) -> Iterator[Token]:
    """Hold the lock `name`; `LockBusy` names who has it when it stays taken for `patience` seconds.

    A dead process leaves no lock behind: one of this machine is known to be gone, one of another
    machine stops renewing, whatever its clock says. A living process of this machine keeps its
    lock however long the database was away. One that was suspended is refused by `fence` when it
    continues, and a long step calls `token.check()` to learn early that it lost the lock.
    """
    token = _acquire(engine, name, patience)
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(engine, token, ended), daemon=True)
    renewal.start()
    try:
        yield token
    finally:
        ended.set()
        renewal.join()
        _HELD.discard((str(engine.url), name, token.number))
        _release(engine, token)


def fence(connection: Connection, token: Token) -> None:
    """Refuse to go on when the lock has passed on; call it in the transaction that writes."""
    current = connection.scalar(
        select(locks.c.token).where(locks.c.name == token.name).with_for_update()
    )
    if current != token.number:
        raise LockLost(_lost(token, str(current)))


def _lost(token: Token, successor: str) -> str:
    return (
        f"lock {token.name!r}: token {token.number} was overtaken by {successor}, another process "
        "took over while this one did not answer; nothing was written, run it again"
    )


def _release(engine: Engine, token: Token) -> None:
    """Free the lock: now, or as soon as the database is back; the step is done either way."""
    if not _is_released(engine, token):
        later = threading.Thread(target=_release_later, args=(engine, token), daemon=True)
        later.start()


def _release_later(engine: Engine, token: Token) -> None:
    while not _is_released(engine, token):
        time.sleep(RETRY_SECONDS)


def _is_released(engine: Engine, token: Token) -> bool:
    try:
        with writing(engine) as connection:
            connection.execute(_held(token).values(holder=None, lease_until=None))
    except SQLAlchemyError as error:
        log.warning("lock %r was not released, next attempt soon: %s", token.name, error)
        return False
    return True


def _acquire(engine: Engine, name: str, patience: float) -> Token:
    deadline = time.monotonic() + patience
    watch, address = _Watch(), str(engine.url)
    while True:
        state, number = LockState.HELD, 0
        try:
            with writing(engine) as connection:
                row = connection.execute(
                    select(locks).where(locks.c.name == name).with_for_update()
                ).first()
                if row is not None:
                    state = _state(row.holder, row.lease_until)
                    if row.holder == this_process() and (address, name, row.token) not in _HELD:
                        state = LockState.FREE
                    if state in UNCERTAIN:
                        state = watch.state(state, row.lease_until)
                if row is None or state is LockState.FREE:
                    last = None if row is None else row.token
                    number = (last or 0) + 1
                    _HELD.add((address, name, number))
                    if (taken := _take(connection, name, last)) is not None:
                        return taken
        except SQLAlchemyError:
            _HELD.discard((address, name, number))  # whether it was taken is not known
            raise
        if state not in UNCERTAIN and time.monotonic() > deadline:
            holder = "another process" if row is None else row.holder
            raise LockBusy(
                f"lock {name!r} is held by {holder} (machine:process:start); wait for it, or end it"
            )
        time.sleep(0.2)


@dataclass
class _Watch:
    """A lease that says nothing by itself: since when it is unchanged, and whether it changed."""

    lease: str = ""
    since: float = 0.0
    renewed: bool = False

    def state(self, state: LockState, lease: str) -> LockState:
        """FREE once it was not renewed for long enough, HELD where one that lies ahead was."""
        if lease != self.lease:
            self.renewed = bool(self.lease)
            self.lease, self.since = lease, time.monotonic()
        enough = GRACE_SECONDS if state is LockState.EXPIRED else LEASE_SECONDS
        if time.monotonic() - self.since >= enough:
            return LockState.FREE
        return LockState.HELD if state is LockState.AHEAD and self.renewed else state


def _take(connection: Connection, name: str, last: int | None) -> Token | None:
    number = (last or 0) + 1
    held = {"token": number, "holder": this_process(), "lease_until": _lease()}
    if last is not None:
        done = connection.execute(
            update(locks).where(locks.c.name == name, locks.c.token == last).values(**held)
        )
        return Token(name, number) if done.rowcount else None
    try:
        with connection.begin_nested():
            connection.execute(insert(locks).values(name=name, **held))
    except IntegrityError:
        return None  # another process made the row first: look again
    return Token(name, number)


def _renew(engine: Engine, token: Token, ended: threading.Event) -> None:
    wait = LEASE_SECONDS / 4
    while not ended.wait(wait):
        try:
            with writing(engine) as connection:
                held = connection.execute(_held(token).values(lease_until=_lease())).rowcount
        except SQLAlchemyError as error:  # busy, restarting, gone: whatever it is, try again
            log.warning("lock %r was not renewed, next attempt soon: %s", token.name, error)
            wait = min(RETRY_SECONDS, LEASE_SECONDS / 4)
            continue
        wait = LEASE_SECONDS / 4
        if not held:
            log.warning("lock %r was lost to another process", token.name)
            token.mark_lost()
            return


def _held(token: Token) -> Any:
    return update(locks).where(locks.c.name == token.name, locks.c.token == token.number)


def _lease(seconds: float | None = None) -> str:
    ahead = timedelta(seconds=LEASE_SECONDS if seconds is None else seconds)
    return (datetime.now(UTC) + ahead).isoformat(timespec="microseconds")


def _state(holder: str | None, lease_until: str | None) -> LockState:
    if holder is None or lease_until is None:
        return LockState.FREE
    if here := _of_this_machine(holder):
        status = _status(*here)
        if status is None or status == psutil.STATUS_ZOMBIE:
            return LockState.FREE
        if status != psutil.STATUS_STOPPED:
            return LockState.HELD
    if lease_until > _lease(2 * LEASE_SECONDS):
        return LockState.AHEAD
    return LockState.EXPIRED if lease_until < now() else LockState.HELD


def this_process() -> str:
    """The name of this process: machine, process id and start of it, which no other one has."""
    return f"{_machine()}:{os.getpid()}:{_start_time(psutil.Process())}"


def has_ended(process: str) -> bool:
    """Whether a process of that name is known to have ended: it was on this machine."""
    here = _of_this_machine(process)
    return here is not None and _status(*here) in (None, psutil.STATUS_ZOMBIE)


def _of_this_machine(process: str) -> tuple[int, str] | None:
    """Process id and start in the name of a process; None for one elsewhere, or no name at all."""
    machine, number, start = ["", "", *process.rsplit(":", 2)][-3:]
    return (int(number), start) if machine == _machine() and number.isdecimal() else None


@cache
def _machine() -> str:
    """The host, boot and PID namespace in which a process id means the same process as here.

    Containers may share a host name; two of them do not share all three.
    """
    parts = [socket.gethostname()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.exists():
        parts += [boot.read_text().strip()[:8], str(namespace.stat().st_ino)]
    return "/".join(parts)


def _status(process_id: int, start: str) -> str | None:
    """The state of the process that began at `start`; another one with its id does not count."""
    try:
        process = psutil.Process(process_id)
        return str(process.status()) if _start_time(process) == start else None
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:  # it exists, and nothing shows that it is another one
        return str(psutil.STATUS_RUNNING)


def _start_time(process: psutil.Process) -> str:
    """Seconds from the start of the machine to that of the process: no clock change moves it."""
    return f"{process.create_time() - psutil.boot_time():.2f}"
