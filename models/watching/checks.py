"""Checks of the recorded decisions and signals."""

from collections.abc import Iterator

from sqlalchemy import Engine, select

from core.findings import Finding
from core.workspace import Workspace
from models.watching.decisions import decisions, signals

OUTCOMES = {"drift", "no drift", "cannot tell"}


def signals_are_three_valued(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Signals of no known outcome, and those that cannot tell where nothing was decided."""
    query = select(signals, decisions.c.action).join(decisions)
    with engine.connect() as connection:
        for row in connection.execute(query):
            ignored = row.outcome == "cannot tell" and row.action == "none"
            if row.outcome not in OUTCOMES or ignored:
                yield Finding(
                    "I12",
                    f"{row.decision_id}: signal {row.name} says {row.outcome!r}, "
                    f"the decision is {row.action!r}",
                    "check the window again: `hone watch`",
                )
