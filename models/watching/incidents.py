"""Incidents: from the first signal to recovery, with times, decisions, people and images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Connection, ForeignKey, Integer, Row, Table, Text, func, select

from core import journal
from core.database import Json, metadata, now
from models.watching.alerts import close_alert

LOOP = "hone"  # who acts where no person does

incidents = Table(
    "incidents",
    metadata,
    Column("incident_id", Text, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("opened_by", Text, ForeignKey("decisions.decision_id"), nullable=False),
    Column("model", Text, nullable=False),  # in service when it was opened
    Column("kind", Text),  # of drift, as it was last told apart
    Column("opened_at", Text, nullable=False),
    Column("closed_at", Text),
    info=journal.COVERED,
)

incident_events = Table(
    "incident_events",
    metadata,
    Column("incident_id", Text, ForeignKey("incidents.incident_id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("what", Text, nullable=False),  # opened, step, round, release, accepted, halt, closed
    Column("who", Text, nullable=False),
    Column("detail", Json, nullable=False),
    info=journal.COVERED,
)


@dataclass(frozen=True)
class Event:
    """One thing that happened in an incident."""

    at: str
    what: str
    who: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Incident:
    """One incident with all that happened in it, in order."""

    incident_id: str
    number: int
    opened_by: str
    model: str
    kind: str | None
    opened_at: str
    closed_at: str | None
    events: tuple[Event, ...] = ()

    @property
    def step(self) -> str:
        """The step of the ladder that it stands at."""
        steps = [str(one.detail["step"]) for one in self.events if "step" in one.detail]
        return steps[-1] if steps else "note"

    def last(self, what: str) -> Event | None:
        """The last event of a kind; None without one."""
        return next((one for one in reversed(self.events) if one.what == what), None)


def next_incident(connection: Connection) -> str:
    """The id that the next incident gets."""
    return f"incident-{_last_number(connection) + 1:04d}"


def open_incident(
    connection: Connection, decision_id: str, *, model: str, kind: str | None, step: str
) -> str:
    """Open an incident in the transaction that records its first decision; return its id."""
    number = _last_number(connection) + 1
    incident_id = f"incident-{number:04d}"
    row = {
        "incident_id": incident_id, "number": number, "opened_by": decision_id, "model": model,
        "kind": kind, "opened_at": now(),
    }  # fmt: skip
    journal.insert(connection, incidents, [row])
    detail = {"decision": decision_id, "step": step, "kind": kind}
    add_event(connection, incident_id, "opened", LOOP, detail)
    return incident_id


def add_event(
    connection: Connection, incident_id: str, what: str, who: str, detail: Mapping[str, Any]
) -> None:
    """Add what happened to an incident."""
    journal.lock(connection)  # or two that are added at once get one number
    last = select(func.max(incident_events.c.number))
    number = connection.scalar(last.where(incident_events.c.incident_id == incident_id)) or 0
    row = {
        "incident_id": incident_id, "number": number + 1, "at": now(), "what": what, "who": who,
        "detail": dict(detail),
    }  # fmt: skip
    journal.insert(connection, incident_events, [row])


def close_incident(connection: Connection, incident_id: str, decision_id: str, why: str) -> None:
    """Close an incident, once, and with it what people were alerted of."""
    mine = incidents.c.incident_id == incident_id, incidents.c.closed_at.is_(None)
    if journal.update(connection, incidents, *mine, closed_at=now()):
        detail = {"decision": decision_id, "step": "none", "why": why}
        add_event(connection, incident_id, "closed", LOOP, detail)
        close_alert(connection, incident_id, title=f"{incident_id} has ended", body=why)


def name_kind(connection: Connection, incident_id: str, kind: str) -> None:
    """Record the kind of drift, when it is another one than before."""
    other = incidents.c.kind.is_distinct_from(kind)
    journal.update(connection, incidents, incidents.c.incident_id == incident_id, other, kind=kind)


def open_incident_of(connection: Connection) -> Incident | None:
    """The incident that is open; None without one."""
    query = select(incidents).where(incidents.c.closed_at.is_(None))
    row = connection.execute(query.order_by(incidents.c.number.desc()).limit(1)).first()
    return None if row is None else _incident(connection, row)


def find_incident(connection: Connection, incident_id: str | None = None) -> Incident:
    """The incident of this id, by default the newest; an unknown one is an error that names it."""
    query = select(incidents).order_by(incidents.c.number.desc()).limit(1)
    if incident_id is not None:
        query = query.where(incidents.c.incident_id == incident_id)
    row = connection.execute(query).first()
    if row is None:
        name = f"incident {incident_id!r}" if incident_id else "incident"
        raise ValueError(f"there is no {name}; `hone incidents` lists them")
    return _incident(connection, row)


def list_incidents(connection: Connection, most: int | None = None) -> list[Incident]:
    """All incidents, or so many, the newest first."""
    newest = select(incidents).order_by(incidents.c.number.desc()).limit(most)
    rows = connection.execute(newest).all()
    return [_incident(connection, row) for row in rows]


def _last_number(connection: Connection) -> int:
    return connection.scalar(select(func.max(incidents.c.number))) or 0


def _incident(connection: Connection, row: Row[Any]) -> Incident:
    mine = incident_events.c.incident_id == row.incident_id
    query = select(*incident_events.c["at", "what", "who", "detail"]).where(mine)
    rows = connection.execute(query.order_by(incident_events.c.number))
    return Incident(**row._mapping, events=tuple(Event(**one._mapping) for one in rows))
