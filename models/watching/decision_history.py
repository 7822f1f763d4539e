"""The checks of a period with their figures, to be drawn over time."""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection, select

from core.rows import chunks
from models.watching.decisions import decisions, signals


@dataclass(frozen=True)
class PastSignal:
    """What one signal of a check measured."""

    name: str
    outcome: str
    value: float | None
    accumulated: float | None  # None: recorded before signals had evidence


@dataclass(frozen=True)
class PastCheck:
    """A check of the traffic."""

    decided_at: str
    step: str  # of the ladder; of an old check its action
    evidence: float | None  # of all signals together, as a natural logarithm; None of an old check
    threshold: float | None  # of it
    signals: list[PastSignal]


def past_checks(connection: Connection, since: str, *, most: int) -> list[PastCheck]:
    """The checks since then, oldest first; of many the newest."""
    columns = decisions.c["decision_id", "decided_at", "step", "action", "evidence", "threshold"]
    query = select(*columns).where(decisions.c.decided_at >= since)
    newest = query.order_by(decisions.c.decided_at.desc(), decisions.c.last_seq.desc())
    rows = connection.execute(newest.limit(most)).all()[::-1]
    measured: dict[str, list[PastSignal]] = defaultdict(list)
    figures = signals.c["decision_id", "name", "outcome", "statistic", "accumulated"]
    for keys in chunks([row.decision_id for row in rows]):
        of_these = select(*figures).where(signals.c.decision_id.in_(keys)).order_by(signals.c.name)
        for decision_id, *signal in connection.execute(of_these):
            measured[decision_id].append(PastSignal(*signal))
    return [
        PastCheck(row.decided_at, row.step or row.action, row.evidence, row.threshold,
                  measured[row.decision_id])
        for row in rows
    ]  # fmt: skip
