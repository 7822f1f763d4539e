"""Who may write, and what was meant, done and confirmed: locks with fencing tokens, and intents."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, Integer, Table, Text, insert, select, update
from sqlalchemy.exc import IntegrityError

from core.database import metadata, now, writing

LEASE_SECONDS = 60.0  # a holder that cannot renew for this long has lost its lock

locks = Table(
    "locks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("token", Integer, nullable=False),
    Column("holder", Text),  # host:process id:start of that process; null = free
    Column("lease_until", Text),
)

intents = Table(
    "intents",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("payload", Text, nullable=False),
    Column("token", Integer, nullable=False),
    Column("intended_at", Text, nullable=False),
    Column("acted_at", Text),
    Column("confirmed_at", Text),
    Column("outcome", Text),
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
    """Hold the lock `name`; `Busy` names who has it when it stays taken for `patience` seconds.

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


def begin_intent(
    connection: Connection, token: Token, *, kind: str, key: str, payload: dict[str, Any]
) -> dict[str, Any]:
    """Write down what is about to be done outside; return the payload that holds.

    An intent that is there already keeps its payload: a rerun finishes what was decided, and does
    not decide again.
    """
    fence(connection, token)
    known = connection.scalar(
        select(intents.c.payload).where(intents.c.kind == kind, intents.c.key == key)
    )
    if known is not None:
        return dict(json.loads(known))
    connection.execute(
        insert(intents).values(
            kind=kind, key=key, payload=json.dumps(payload), token=token.number, intended_at=now()
        )
    )
    return payload


def mark_done(connection: Connection, token: Token, *, kind: str, key: str) -> None:
    """Write down that the outside act was seen to have happened."""
    fence(connection, token)
    row = (intents.c.kind == kind) & (intents.c.key == key) & intents.c.acted_at.is_(None)
    connection.execute(update(intents).where(row).values(acted_at=now()))


def commit_intent(
    connection: Connection, token: Token, *, kind: str, key: str, outcome: str = "done"
) -> None:
    """Close an intent, in the same transaction that records what came of it."""
    fence(connection, token)
    row = (intents.c.kind == kind) & (intents.c.key == key) & intents.c.confirmed_at.is_(None)
    connection.execute(update(intents).where(row).values(confirmed_at=now(), outcome=outcome))


def intent_outcome(connection: Connection, *, kind: str, key: str) -> str | None:
    """What came of an intent; None while it is open or was never made."""
    return connection.scalar(
        select(intents.c.outcome).where(intents.c.kind == kind, intents.c.key == key)
    )


def open_intents(connection: Connection, kind: str) -> dict[str, dict[str, Any]]:
    """What was intended and not confirmed, by key, oldest first."""
    found = connection.execute(
        select(intents.c.key, intents.c.payload)
        .where(intents.c.kind == kind, intents.c.confirmed_at.is_(None))
        .order_by(intents.c.intended_at)
    )
    return {row.key: json.loads(row.payload) for row in found}


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
        with writing(engine) as connection:
            connection.execute(_held(token).values(lease_until=_lease()))


def _held(token: Token) -> Any:
    return update(locks).where(locks.c.name == token.name, locks.c.token == token.number)


def _lease() -> str:
    return (datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)).isoformat(timespec="microseconds")


def _is_free(holder: str | None, lease_until: str | None) -> bool:
    if holder is None or lease_until is None or lease_until < now():
        return True
    host, process, start = holder.rsplit(":", 2)
    return host == socket.gethostname() and _started(int(process)) != start


def _myself() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def _started(process: int) -> str | None:
    """When a process of this host began, so that a reused id is not taken for it; None = gone."""
    stat = Path(f"/proc/{process}/stat")
    try:
        fields = stat.read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self").exists() else _alive(process)
    return None if fields[0] == "Z" else fields[19]


def _alive(process: int) -> str | None:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    return "alive"
