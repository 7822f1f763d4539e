"""What people ask of the watch and what they decide: decisions, incidents, halts, known drift."""

from dataclasses import dataclass

from sqlalchemy import Connection

from core.database import writing
from models.registry.halts import Halt, HaltPolicy, add_halt, halt_of, lift_halt
from models.watching import decisions, incidents
from models.watching.decisions import DecisionRecord
from models.watching.incidents import Incident
from tasks.context import open_context


def last_decisions(count: int) -> list[DecisionRecord]:
    """The last decisions, the newest first."""
    with open_context().engine.connect() as connection:
        return list(decisions.newest_decisions(connection, count))


def all_incidents() -> list[Incident]:
    """All incidents, the newest first."""
    with open_context().engine.connect() as connection:
        return incidents.list_incidents(connection)


def one_incident(incident_id: str) -> tuple[Incident, list[DecisionRecord]]:
    """An incident and its decisions; an unknown one is an error."""
    with open_context().engine.connect() as connection:
        incident = incidents.find_incident(connection, incident_id)
        return incident, decisions.decisions_of(connection, incident.incident_id)


@dataclass(frozen=True)
class Accepted:
    """What followed from taking a drift for known."""

    ended: str | None = None  # the incident
    halt: Halt | None = None  # that is in force all the same


def accept_drift(decision_id: str, *, who: str, why: str) -> Accepted:
    """Take the traffic of a decision for known. A halt stays: it is lifted by a word of its own."""
    with writing(open_context().engine) as connection:
        decision = decisions.accept_decision(connection, decision_id, who=who, why=why)
        incident, halted = incidents.open_incident_of(connection), halt_of(connection)
        if incident is None or decision.incident_id != incident.incident_id:
            return Accepted(halt=halted)
        detail = {"decision": decision_id, "why": why}
        incidents.add_event(connection, incident.incident_id, "accepted", who, detail)
        reason = f"{who} takes its traffic for known: {why}"
        incidents.close_incident(connection, incident.incident_id, decision_id, reason)
        return Accepted(incident.incident_id, halted)


def halt(policy: HaltPolicy, *, who: str, why: str) -> None:
    """Halt the service on a person's word."""
    with writing(open_context().engine) as connection:
        add_halt(connection, policy=policy, who=who, why=why, decision_id=None)
        _note(connection, "halt", who, why)


def resume(*, who: str, why: str) -> None:
    """Let the service answer again on a person's word."""
    with writing(open_context().engine) as connection:
        lift_halt(connection, who=who, why=why)
        _note(connection, "resume", who, why)


def _note(connection: Connection, what: str, who: str, why: str) -> None:
    """Add what a person did to the incident that is open."""
    incident = incidents.open_incident_of(connection)
    if incident is not None:
        incidents.add_event(connection, incident.incident_id, what, who, {"why": why})
