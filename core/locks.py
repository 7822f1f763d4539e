"""One writer at a time: locks in the database, each acquisition with a rising fencing token."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
from sqlalchemy import Column, Connection, Engine, Integer, Table, Text, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from core.database import metadata, now, writing

log = logging.getLogger(__name__)
LEASE_SECONDS = 60.0  # a holder that cannot renew for this long has lost its lock

locks = Table(
    "locks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("token", Integer, nullable=False),
    Column("holder", Text),  # host:process id:start of that process; null = free
    Column("lease_until", Text),
)


class LockLost(RuntimeError):
    """The lock went to another process meanwhile: whatever was about to be written is not."""


class LockBusy(RuntimeError):
    """Another live process holds the lock, and went on holding it."""


@dataclass(frozen=True)
class Token:
    """Proof of being the one writer of `name`; a later holder has a higher number."""

    name: str
    number: int


@contextmanager
def only_writer(engine: Engine, name: str, patience: float = 60.0) -> Iterator[Token]:
    """Hold the lock `name`; `LockBusy` names who has it when it stays taken for `patience` seconds.

    A dead process leaves no lock behind: one of this host is seen to be gone, one of another host
    stops renewing. One that was only asleep is refused by `fence` when it wakes.
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
        with writing(engine) as connection:
            connection.execute(_held(token).values(holder=None, lease_until=None))


def fence(connection: Connection, token: Token) -> None:
    """Refuse to go on when the lock has passed on; call it in the transaction that writes."""
    current = connection.scalar(
        select(locks.c.token).where(locks.c.name == token.name).with_for_update()
    )
    if current != token.number:
        raise LockLost(
            f"lock {token.name!r}: token {token.number} was overtaken by {current}, another "
            "process took over while this one did not answer; nothing was written, run it again"
        )


def _acquire(engine: Engine, name: str, patience: float) -> Token:
    deadline = time.monotonic() + patience
    while True:
        with writing(engine) as connection:
            row = connection.execute(
                select(locks).where(locks.c.name == name).with_for_update()
            ).first()
            if row is None or _is_free(row.holder, row.lease_until):
                taken = _take(connection, name, None if row is None else row.token)
                if taken is not None:
                    return taken
        if time.monotonic() > deadline:
            holder = "another process" if row is None else row.holder
            raise LockBusy(
                f"lock {name!r} is held by {holder} (host:process:start); wait for it, or end it"
            )
        time.sleep(0.2)


def _take(connection: Connection, name: str, last: int | None) -> Token | None:
    number = (last or 0) + 1
    held = {"token": number, "holder": _myself(), "lease_until": _lease()}
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
    while not ended.wait(LEASE_SECONDS / 4):
        try:
            with writing(engine) as connection:
                connection.execute(_held(token).values(lease_until=_lease()))
        except OperationalError as error:  # busy or restarting: the lease outlasts three failures
            log.warning("lock %r was not renewed, next attempt soon: %s", token.name, error)


def _held(token: Token) -> Any:
    return update(locks).where(locks.c.name == token.name, locks.c.token == token.number)


def _lease() -> str:
    return (datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)).isoformat(timespec="microseconds")


def _is_free(holder: str | None, lease_until: str | None) -> bool:
    if holder is None or lease_until is None or lease_until < now():
        return True
    host, process, start = holder.rsplit(":", 2)
    return host == socket.gethostname() and not _is_running(int(process), start)


def _myself() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{_start_time(psutil.Process())}"


def _is_running(process_id: int, start: str) -> bool:
    """Whether the process that began at `start` still runs; another with its id does not count."""
    try:
        process = psutil.Process(process_id)
        return process.status() != psutil.STATUS_ZOMBIE and _start_time(process) == start
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it exists, and nothing shows that it is another one
        return True


def _start_time(process: psutil.Process) -> str:
    """Seconds from the start of the machine to that of the process: no clock change moves it."""
    return f"{process.create_time() - psutil.boot_time():.2f}"
