"""Intents: what is about to be done outside the database, whether it was done, what came of it.

An intent is written before the act and committed with its result, so the run after a kill knows
what was decided and looks outside for what was done.
"""

from typing import Any

from sqlalchemy import Column, Connection, Integer, Table, Text, insert, select, update

from core.database import Json, metadata, now
from core.locks import Token, fence

intents = Table(
    "intents",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("payload", Json, nullable=False),
    Column("token", Integer, nullable=False),
    Column("intended_at", Text, nullable=False),
    Column("acted_at", Text),
    Column("confirmed_at", Text),
    Column("outcome", Text),
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
        return dict(known)
    connection.execute(
        insert(intents).values(
            kind=kind, key=key, payload=payload, token=token.number, intended_at=now()
        )
    )
    return payload


def mark_done(connection: Connection, token: Token, *, kind: str, key: str) -> None:
    """Write down that the act outside has happened."""
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
    rows = connection.execute(
        select(intents.c.key, intents.c.payload)
        .where(intents.c.kind == kind, intents.c.confirmed_at.is_(None))
        .order_by(intents.c.intended_at)
    )
    return {row.key: row.payload for row in rows}
