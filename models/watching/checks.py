"""Checks of the recorded decisions, signals, incidents and halts."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Engine, Row, select

from core.database import stream
from core.findings import RESTORE, Finding
from core.workspace import Workspace
from models.registry.halts import halts
from models.watching.decisions import decision_name, decisions, signals
from models.watching.incidents import incident_events, incidents
from models.watching.ladder import Step
from models.watching.signals import Action, Shift

AGAIN = "check the window again: `hone watch`"

OUTCOMES = {str(one) for one in Shift}
STEPS = {str(one) for one in Step}


def decisions_are_of_their_windows(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Decisions whose name is that of another window, that rest on no signal, or overlap."""
    bare = decisions.c.decision_id.not_in(select(signals.c.decision_id))
    query = select(decisions, bare.label("is_bare"))
    ends: dict[str, int] = {}
    in_order = decisions.c.model, decisions.c.first_seq, decisions.c.last_seq
    with engine.connect() as connection:
        for row in stream(connection, query.order_by(*in_order)):
            if problem := _problem(row, ends.get(row.model, 0)):
                yield Finding("I12", f"{row.decision_id} {problem}", RESTORE)
            ends[row.model] = max(row.last_seq, ends.get(row.model, 0))


def _problem(row: Row[Any], end: int) -> str | None:
    """What is wrong with a decision, the traffic of its model having been decided on up to `end`.

    A check without enough traffic has a window that ends before it begins, and perhaps no signal.
    """
    name = decision_name(row.model, row.first_seq, row.last_seq, row.decided_at)
    has_window = row.last_seq >= row.first_seq
    if name != row.decision_id:
        return "is the name of another window"
    if row.action not in {str(one) for one in Action}:
        return f"is {row.action!r}, which is no decision"
    if row.step is not None and row.step not in STEPS:
        return f"is at {row.step!r}, which is no step"
    if row.is_bare and has_window:
        return "rests on no signal"
    if has_window and row.first_seq <= end:
        return "is about traffic that was decided on before"
    return None


def signals_are_three_valued(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Signals of no known outcome, and decisions on nothing but signals that cannot tell."""
    query = select(signals, decisions.c.action, decisions.c.model, decisions.c.last_seq)
    ordered = query.join(decisions).order_by(signals.c.decision_id, signals.c.name)
    with engine.connect() as connection:
        rows = stream(connection, ordered)
        for decision_id, of_decision in groupby(rows, key=attrgetter("decision_id")):
            blind = True
            for row in of_decision:
                blind = blind and row.outcome == Shift.UNKNOWN
                action = row.action
                if row.outcome not in OUTCOMES:
                    what = f"signal {row.name} says {row.outcome!r}"
                    yield Finding("I12", f"{decision_id}: {what}", AGAIN)
            if blind and action == Action.NONE:
                what = "no signal can tell, and the decision is 'none'"
                yield Finding("I12", f"{decision_id}: {what}", AGAIN)


def incidents_are_complete(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Decisions of an incident that is not on record, and incidents without their events."""
    named, known = decisions.c.incident_id, select(incidents.c.incident_id)
    lost = select(decisions.c.decision_id, named).where(named.is_not(None), named.not_in(known))
    with engine.connect() as connection:
        for decision_id, incident_id in connection.execute(lost):
            what = f"{decision_id} is of {incident_id}, which is not in incidents"
            yield Finding("I12", what, RESTORE)
        for row in connection.execute(select(incidents).order_by(incidents.c.number)).all():
            mine = incident_events.c.incident_id == row.incident_id
            events = set(connection.scalars(select(incident_events.c.what).where(mine)))
            wanted = {"opened"} | ({"closed"} if row.closed_at else set())
            for missing in sorted(wanted - events):
                what = f"{row.incident_id} has no event {missing!r}"
                yield Finding("I12", what, RESTORE)


def halts_have_reasons(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Halts of the watch whose decision is not on record, and lifted ones that nobody lifted."""
    with engine.connect() as connection:
        for row in connection.execute(select(halts).order_by(halts.c.number)).all():
            known = select(decisions.c.decision_id).where(
                decisions.c.decision_id == row.decision_id
            )
            if row.decision_id is not None and connection.scalar(known) is None:
                what = f"halt {row.number} rests on {row.decision_id}, which is not in decisions"
                yield Finding("I12", what, RESTORE)
            if row.lifted_at is not None and not (row.lifted_by and row.lifted_why):
                yield Finding("I12", f"halt {row.number} was lifted by nobody", RESTORE)
