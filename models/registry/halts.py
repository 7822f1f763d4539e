"""Halts of the service: who stopped its answers and why, and who let them go on.

A halt that the watch made ends with the next release or rollback, and not with a shadow or canary;
one by a person ends with a person's word alone.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Connection, Engine, Integer, Row, Table, Text, select

from core import journal
from core.database import metadata, now
from models.registry.releases import release_of, tenure_of
from models.registry.versions import AUTOMATIC

halts = Table(
    "halts",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("policy", Text, nullable=False),  # "refuse" or "abstain"
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("release", Integer),  # that it ends with; None: a person ends it
    Column("decision_id", Text),  # of the watch; None: a person halted
    Column("halted_at", Text, nullable=False),
    Column("lifted_at", Text),
    Column("lifted_by", Text),
    Column("lifted_why", Text),
    info=journal.COVERED,
)


class HaltPolicy(StrEnum):
    """What a halted service answers."""

    REFUSE = "refuse"  # 503 HALTED
    ABSTAIN = "abstain"  # answers that abstain and need review


@dataclass(frozen=True)
class Halt:
    """One halt."""

    number: int
    policy: HaltPolicy
    who: str
    why: str
    release: int | None
    decision_id: str | None
    halted_at: str
    lifted_at: str | None = None
    lifted_by: str | None = None
    lifted_why: str | None = None


def current_halt(engine: Engine) -> Halt | None:
    """The halt in force; None when the service answers."""
    with engine.connect() as connection:
        return halt_of(connection)


def halt_of(connection: Connection) -> Halt | None:
    """The halt in force, as the caller's transaction knows it."""
    halt = last_halt(connection)
    if halt is None or halt.lifted_at is not None:
        return None
    current = tenure_of(connection)
    number = current.number if current else 0
    return None if halt.release is not None and number > halt.release else halt


def last_halt(connection: Connection) -> Halt | None:
    """The newest halt, in force or not; None before the first."""
    row = connection.execute(select(halts).order_by(halts.c.number.desc()).limit(1)).first()
    return None if row is None else _halt(row)


def add_halt(
    connection: Connection, *, policy: HaltPolicy, who: str, why: str, decision_id: str | None
) -> int:
    """Halt the service in the caller's transaction; return the number of the halt in force.

    The halt of a decision ends with the next release. One that is in force already stays, except
    that a person's word takes the place of the watch's halt and of another policy.
    """
    if not who.strip() or not why.strip():
        raise ValueError(f"a halt needs who ({who!r}) and why ({why!r}); give both")
    journal.lock(connection)  # or two at once get one number
    last, current = last_halt(connection), release_of(connection)
    if halt_of(connection) is not None and last is not None:
        same = last.decision_id is None and last.policy == policy
        if decision_id is not None or same:
            return last.number
        lifted = {"lifted_at": now(), "lifted_by": who, "lifted_why": f"halted anew: {why}"}
        journal.update(connection, halts, halts.c.number == last.number, **lifted)
    release = None
    if decision_id is not None and current is not None:
        release = current.number
    number = last.number + 1 if last else 1
    row = Halt(number, HaltPolicy(policy), who, why, release, decision_id, now())
    journal.insert(connection, halts, [{**asdict(row), "policy": str(policy)}])
    return number


def lift_halt(connection: Connection, *, who: str, why: str) -> int:
    """Let the service answer again on a named person's word; return the number of the halt."""
    if not who.strip() or not why.strip():
        raise ValueError(f"resuming needs who ({who!r}) and why ({why!r}); give both")
    if who.split()[0] == AUTOMATIC:
        raise ValueError(f"{who!r} is no person: only a named person can resume the service")
    halt = halt_of(connection)
    if halt is None:
        raise ValueError("the service is not halted: there is nothing to resume")
    lifted = {"lifted_at": now(), "lifted_by": who, "lifted_why": why}
    journal.update(connection, halts, halts.c.number == halt.number, **lifted)
    return halt.number


def _halt(row: Row[Any]) -> Halt:
    return Halt(**{**row._mapping, "policy": HaltPolicy(row.policy)})
