"""What people ask of the watch and what they decide: decisions, incidents, halts, known drift."""

from sqlalchemy import Engine

from core.database import writing
from models.registry.halts import HaltPolicy, halt_service, resume_service
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


def accept_drift(decision_id: str, *, who: str, why: str) -> str | None:
    """Take the traffic of a decision for known; return the incident that this ends, if any."""
    ctx = open_context()
    with writing(ctx.engine) as connection:
        decision = decisions.accept_decision(connection, decision_id, who=who, why=why)
        incident = incidents.open_incident_of(connection)
        if incident is None or decision.incident_id != incident.incident_id:
            return None
        detail = {"decision": decision_id, "why": why}
        incidents.add_event(connection, incident.incident_id, "accepted", who, detail)
        reason = f"{who} takes its traffic for known: {why}"
        incidents.close_incident(connection, incident.incident_id, decision_id, reason)
    return incident.incident_id


def halt(policy: HaltPolicy, *, who: str, why: str) -> None:
    """Halt the service on a person's word."""
    ctx = open_context()
    halt_service(ctx.engine, policy=policy, who=who, why=why)
    _note(ctx.engine, "halt", who, why)


def resume(*, who: str, why: str) -> None:
    """Let the service answer again on a person's word."""
    ctx = open_context()
    resume_service(ctx.engine, who=who, why=why)
    _note(ctx.engine, "resume", who, why)


def _note(engine: Engine, what: str, who: str, why: str) -> None:
    """Add what a person did to the incident that is open."""
    with writing(engine) as connection:
        incident = incidents.open_incident_of(connection)
        if incident is not None:
            incidents.add_event(connection, incident.incident_id, what, who, {"why": why})
