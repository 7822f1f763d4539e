"""The decisions and signals of a period, for people to read."""

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
    threshold: float | None
    rows: int
    meaning: str


@dataclass(frozen=True)
class PastDecision:
    """A check of the traffic: what was decided, and why."""

    decision_id: str
    model: str
    action: str
    reason: str
    decided_at: str
    answered_by: str | None
    signals: list[PastSignal]


def past_decisions(connection: Connection, since: str, *, most: int) -> list[PastDecision]:
    """The decisions since then, newest first; of many the newest."""
    columns = decisions.c["decision_id", "model", "action", "reason", "decided_at", "answered_by"]
    query = select(*columns).where(decisions.c.decided_at >= since)
    newest = query.order_by(decisions.c.decided_at.desc(), decisions.c.last_seq.desc())
    rows = connection.execute(newest.limit(most)).all()
    measured: dict[str, list[PastSignal]] = defaultdict(list)
    for keys in chunks([row.decision_id for row in rows]):
        of_these = select(signals).where(signals.c.decision_id.in_(keys)).order_by(signals.c.name)
        for one in connection.execute(of_these):
            measured[one.decision_id].append(
                PastSignal(
                    one.name,
                    one.outcome,
                    one.statistic,
                    one.threshold,
                    one.rows,
                    one.detail if one.meaning is None else one.meaning,
                )
            )
    return [PastDecision(**row._mapping, signals=measured[row.decision_id]) for row in rows]
