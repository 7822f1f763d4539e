"""Checks of the recorded decisions and signals."""

from collections.abc import Iterator

from sqlalchemy import Engine, select

from core.database import stream
from core.findings import RESTORE, Finding
from core.workspace import Workspace
from models.watching.decisions import decision_name, decisions, signals
from models.watching.signals import Action

OUTCOMES = {"drift", "no drift", "cannot tell"}


def decisions_are_of_their_windows(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Decisions whose name is that of another window, that rest on no signal, or overlap."""
    bare = decisions.c.decision_id.not_in(select(signals.c.decision_id))
    query = select(decisions, bare.label("is_bare"))
    ends: dict[str, int] = {}
    with engine.connect() as connection:
        for row in stream(connection, query.order_by(decisions.c.model, decisions.c.first_seq)):
            problem = None
            if decision_name(row.model, row.first_seq, row.last_seq) != row.decision_id:
                problem = "is the name of another window"
            elif row.action not in {str(one) for one in Action}:
                problem = f"is {row.action!r}, which is no decision"
            elif row.is_bare:
                problem = "rests on no signal"
            elif row.first_seq <= ends.get(row.model, 0):
                problem = "is about traffic that was decided on before"
            if problem:
                yield Finding("I12", f"{row.decision_id} {problem}", RESTORE)
            ends[row.model] = row.last_seq


def signals_are_three_valued(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Signals of no known outcome, and those that cannot tell where nothing was decided."""
    query = select(signals, decisions.c.action).join(decisions)
    with engine.connect() as connection:
        for row in stream(connection, query):
            ignored = row.outcome == "cannot tell" and row.action == "none"
            if row.outcome not in OUTCOMES or ignored:
                yield Finding(
                    "I12",
                    f"{row.decision_id}: signal {row.name} says {row.outcome!r}, "
                    f"the decision is {row.action!r}",
                    "check the window again: `hone watch`",
                )
