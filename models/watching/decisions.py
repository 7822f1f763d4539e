"""The record of signals and decisions: tables, and typed queries over them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    Row,
    Select,
    Table,
    Text,
    func,
    select,
)
from sqlalchemy.exc import IntegrityError

from core import journal
from core.database import metadata, now, writing
from models.watching.signals import Action, Decision, Family, Shift, Signal

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("first_seq", Integer, nullable=False),  # the window, as a range of predictions.seq
    Column("last_seq", Integer, nullable=False),
    Column("action", Text, nullable=False),  # "none", "label-served", "cannot-tell"
    Column("reason", Text, nullable=False),
    Column("decided_at", Text, nullable=False),
    Column("answered_by", Text),  # round_id of the round that acted on the decision
    info=journal.COVERED,
)
Index(
    "uq_decisions_window",
    decisions.c.model,
    decisions.c.first_seq,
    decisions.c.last_seq,
    unique=True,
)

signals = Table(
    "signals",
    metadata,
    Column("decision_id", Text, ForeignKey("decisions.decision_id"), primary_key=True),
    Column("name", Text, primary_key=True),  # "ks-probabilities", "ks-embeddings"
    Column("outcome", Text, nullable=False),  # "drift", "no drift", "cannot tell"
    Column("statistic", Float),
    Column("p_value", Float),
    Column("threshold", Float),
    Column("rows", Integer, nullable=False),
    Column("detail", Text, nullable=False),
    info=journal.COVERED,
)


@dataclass(frozen=True)
class DecisionRecord:
    """One decision as it was recorded, with the signals that it was based on, by name."""

    decision_id: str
    model: str
    first_seq: int
    last_seq: int
    action: Action
    reason: str
    decided_at: str
    answered_by: str | None
    signals: tuple[Signal, ...] = ()


def record_decision(
    engine: Engine,
    *,
    model: str,
    first_seq: int,
    last_seq: int,
    decision: Decision,
    signals: Sequence[Signal],
) -> str:
    """Record the decision on a window of served predictions; return its `decision_id`.

    A window is decided once: recording it again changes nothing.
    """
    if not 0 < first_seq <= last_seq:
        raise ValueError(
            f"the window is {first_seq} to {last_seq}; it has at least one prediction, and their "
            "numbers start at 1"
        )
    decision_id = decision_name(model, first_seq, last_seq)
    row: dict[str, str | int] = {
        "decision_id": decision_id, "model": model, "first_seq": first_seq, "last_seq": last_seq,
        "action": str(decision.action), "reason": decision.reason, "decided_at": now(),
    }  # fmt: skip
    if not _known(engine, decision_id):
        try:
            _insert(engine, row, signals)
        except IntegrityError:  # recorded concurrently; any other violation is raised
            if not _known(engine, decision_id):
                raise
    return decision_id


def decision_name(model: str, first_seq: int, last_seq: int) -> str:
    """The id of the decision on a window of a model's predictions."""
    window = f"{model}:{first_seq}:{last_seq}"
    return f"decision-{hashlib.sha256(window.encode()).hexdigest()[:16]}"


def newest_decision(connection: Connection) -> DecisionRecord | None:
    """The decision that was made last; None before the first."""
    newest = decisions.c.decided_at.desc(), decisions.c.last_seq.desc()
    return _first(connection, select(decisions).order_by(*newest))


def find_decision(engine: Engine, decision_id: str) -> DecisionRecord:
    """The decision of this id; an unknown id is an error that names it."""
    with engine.connect() as connection:
        query = select(decisions).where(decisions.c.decision_id == decision_id)
        decision = _first(connection, query)
    if decision is None:
        raise ValueError(f"there is no decision {decision_id!r}")
    return decision


def unanswered_drift(engine: Engine) -> DecisionRecord | None:
    """The newest decision that asks for labels and that no round has acted on; None without one."""
    query = (
        select(decisions)
        .where(decisions.c.action == Action.LABEL_SERVED, decisions.c.answered_by.is_(None))
        .order_by(decisions.c.last_seq.desc())
    )
    with engine.connect() as connection:
        return _first(connection, query)


def answer_decision(connection: Connection, decision_id: str, round_id: str) -> None:
    """Record the round that acts on a decision, and on the open ones about earlier traffic.

    The first round to answer stays. Call it in the transaction that opens the round.
    """
    last_seq = connection.scalar(
        select(decisions.c.last_seq).where(decisions.c.decision_id == decision_id)
    )
    if last_seq is None:
        raise ValueError(f"there is no decision {decision_id!r}; `unanswered_drift` names the open")
    waiting = decisions.c.action == Action.LABEL_SERVED, decisions.c.answered_by.is_(None)
    earlier = decisions.c.last_seq <= last_seq
    journal.update(connection, decisions, *waiting, earlier, answered_by=round_id)


def checked_up_to(engine: Engine, model: str) -> int:
    """The `seq` up to which the predictions of `model` were decided on; 0 before the first."""
    with engine.connect() as connection:
        last = select(func.max(decisions.c.last_seq)).where(decisions.c.model == model)
        return connection.scalar(last) or 0


def _known(engine: Engine, decision_id: str) -> bool:
    with engine.connect() as connection:
        query = select(decisions.c.decision_id).where(decisions.c.decision_id == decision_id)
        return connection.execute(query).first() is not None


def _first(connection: Connection, query: Select[Any]) -> DecisionRecord | None:
    row = connection.execute(query.limit(1)).first()
    if row is None:
        return None
    of_decision = select(signals).where(signals.c.decision_id == row.decision_id)
    measured = connection.execute(of_decision.order_by(signals.c.name)).all()
    return DecisionRecord(
        **{**row._mapping, "action": Action(row.action)}, signals=tuple(map(_signal, measured))
    )


def _signal(row: Row[Any]) -> Signal:
    return Signal(
        name=row.name,
        family=Family.INPUTS,
        outcome=Shift(row.outcome),
        value=row.statistic,
        threshold=row.threshold,
        evidence=0.0,
        accumulated=0.0,
        p_value=row.p_value,
        rows=row.rows,
        groups=row.rows,
        meaning=row.detail,
    )


def _insert(engine: Engine, row: dict[str, str | int], measured: Sequence[Signal]) -> None:
    rows = [
        {
            "decision_id": row["decision_id"], "name": signal.name, "outcome": str(signal.outcome),
            "statistic": signal.value, "p_value": signal.p_value,
            "threshold": signal.threshold, "rows": signal.rows, "detail": signal.meaning,
        }
        for signal in measured
    ]  # fmt: skip
    with writing(engine) as connection:
        journal.insert(connection, decisions, [row])
        journal.insert(connection, signals, rows)
