"""The record of checks: decisions, their signals and the state of the detectors, with queries.

Every check of the served traffic is one row of `decisions`, also one that does nothing.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

from core import journal
from core.database import Json, metadata, now
from core.errors import HoneError
from models.watching.incidents import incidents
from models.watching.signals import Action, Family, Shift, Signal

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("first_seq", Integer, nullable=False),  # the window, as a range of predictions.seq;
    Column("last_seq", Integer, nullable=False),  # empty (first - 1) for a check without traffic
    Column("action", Text, nullable=False),  # "none", "label-served", "cannot-tell"
    Column("reason", Text, nullable=False),
    Column("decided_at", Text, nullable=False),
    Column("answered_by", Text),  # round_id of the round that acted on the decision
    # None in what follows: decided before version 0.2
    Column("step", Text),  # of the ladder: none, note, label, retrain, alert, halt
    Column("kind", Text),  # of drift
    Column("why", Json),  # sentences
    Column("why_not", Json),  # a sentence for each rule that was not met, with its numbers
    Column("cost", Json),
    Column("estimate", Json),  # accuracy without outcomes, and what outcomes show
    Column("exemplars", Json),  # prediction ids, those that moved most first
    Column("evidence", Float),  # of all signals together, natural logarithm, like the threshold
    Column("threshold", Float),
    Column("spent", Float),  # of the alarm budget of the quarter
    Column("incident_id", Text),
    Column("accepted_by", Text),  # a person who takes this traffic for known
    Column("accepted_why", Text),
    Column("accepted_at", Text),
    info=journal.COVERED,
)
Index("ix_decisions_model", decisions.c.model, decisions.c.last_seq)

signals = Table(
    "signals",
    metadata,
    Column("decision_id", Text, ForeignKey("decisions.decision_id"), primary_key=True),
    Column("name", Text, primary_key=True),  # "martingale", "ks-probabilities", "lag"
    Column("outcome", Text, nullable=False),  # "drift", "no drift", "cannot tell"
    Column("statistic", Float),  # its own measure
    Column("p_value", Float),
    Column("threshold", Float),
    Column("rows", Integer, nullable=False),
    Column("detail", Text, nullable=False),  # further figures as JSON; a sentence before 0.2
    Column("family", Text),
    Column("evidence", Float),
    Column("accumulated", Float),
    Column("groups", Integer),
    Column("meaning", Text),
    info=journal.COVERED,
)

watch_states = Table(  # what the detectors carry from window to window; lost, they start anew
    "watch_states",
    metadata,
    Column("model", Text, primary_key=True),
    Column("last_seq", Integer, nullable=False),
    Column("state", Json, nullable=False),
    Column("updated_at", Text, nullable=False),
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
    answered_by: str | None = None
    step: str | None = None
    kind: str | None = None
    why: Sequence[str] | None = None
    why_not: Sequence[str] | None = None
    cost: Mapping[str, Any] | None = None
    estimate: Mapping[str, Any] | None = None
    exemplars: Sequence[str] | None = None
    evidence: float | None = None
    threshold: float | None = None
    spent: float | None = None
    incident_id: str | None = None
    accepted_by: str | None = None
    accepted_why: str | None = None
    accepted_at: str | None = None
    signals: tuple[Signal, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """What one check came to, as it is recorded."""

    model: str
    first_seq: int
    last_seq: int
    action: Action
    step: str
    reason: str
    why: Sequence[str] = ()
    why_not: Sequence[str] = ()
    kind: str | None = None
    cost: Mapping[str, Any] = field(default_factory=dict)
    estimate: Mapping[str, Any] = field(default_factory=dict)
    exemplars: Sequence[str] = ()
    evidence: float = 0.0
    threshold: float = 0.0
    spent: float = 0.0
    incident_id: str | None = None
    signals: Sequence[Signal] = ()


@dataclass(frozen=True)
class WatchState:
    """What the detectors carry from window to window, and the traffic that is in it."""

    last_seq: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)


class Overtaken(HoneError):
    """Another check recorded a decision on this traffic in the meantime."""


def record_evaluation(connection: Connection, made: Evaluation) -> str:
    """Record a check with its signals in the caller's transaction; return its `decision_id`.

    Traffic is decided on once: a window that reaches back before the end of the last one is
    `Overtaken`, and nothing is recorded.
    """
    if not 0 < made.first_seq <= made.last_seq + 1:
        raise ValueError(
            f"the window is {made.first_seq} to {made.last_seq}; predictions are numbered from 1, "
            "and a window without any ends one before its beginning"
        )
    checked = _checked_up_to(connection, made.model)
    if made.first_seq <= checked:
        raise Overtaken(f"traffic of {made.model} was checked up to {checked} in the meantime")
    at = now()
    decision_id = decision_name(made.model, made.first_seq, made.last_seq, at)
    row = {name: value for name, value in vars(made).items() if name != "signals"}
    row |= {name: list(row[name]) for name in ("why", "why_not", "exemplars")}
    row |= {"action": str(made.action), "decision_id": decision_id, "decided_at": at}
    journal.insert(connection, decisions, [row])
    of_decision = [_signal_row(decision_id, signal) for signal in made.signals]
    journal.insert(connection, signals, of_decision)
    return decision_id


def decision_name(model: str, first_seq: int, last_seq: int, decided_at: str) -> str:
    """The id of the decision on a window of a model's predictions; without any, of a moment."""
    window = f"{model}:{first_seq}:{last_seq}"
    if last_seq < first_seq:
        window += f":{decided_at}"
    return f"decision-{hashlib.sha256(window.encode()).hexdigest()[:16]}"


def load_state(connection: Connection, model: str) -> WatchState:
    """What the detectors carry for a model; empty when it does not end where the decisions do.

    A new champion is watched from where the checks of all models have come to: what it answered
    before, as a canary, is not tested, and its first check does not read all that was ever served.
    """
    checked = _checked_up_to(connection, model)
    read = max(checked, connection.scalar(select(func.max(decisions.c.last_seq))) or 0)
    known = select(watch_states).where(watch_states.c.model == model)
    row = connection.execute(known).first()
    if row is None or row.last_seq != checked:
        return WatchState(read)
    return WatchState(read, row.state)


def save_state(connection: Connection, model: str, state: WatchState) -> None:
    """Store what the detectors carry, in the transaction that records the decision."""
    values = {"last_seq": state.last_seq, "state": dict(state.state), "updated_at": now()}
    same = watch_states.c.model == model
    if not connection.execute(watch_states.update().where(same).values(values)).rowcount:
        connection.execute(watch_states.insert().values(model=model, **values))


def skip_truths(connection: Connection, number: int) -> None:
    """Let the next check of every model begin behind this truth: renumbered ones judged before."""
    for row in connection.execute(select(watch_states)).all():
        state = {**row.state, "truths": number}
        same = watch_states.c.model == row.model
        connection.execute(watch_states.update().where(same).values(state=state))


def newest_decision(connection: Connection) -> DecisionRecord | None:
    """The decision that was made last; None before the first."""
    return next(newest_decisions(connection, 1), None)


def newest_decisions(connection: Connection, count: int) -> Iterator[DecisionRecord]:
    """The decisions that were made last, the newest first."""
    newest = decisions.c.decided_at.desc(), decisions.c.last_seq.desc()
    for row in connection.execute(select(decisions).order_by(*newest).limit(count)).all():
        yield _record(connection, row)


def find_decision(engine: Engine, decision_id: str) -> DecisionRecord:
    """The decision of this id; an unknown id is an error that names it."""
    with engine.connect() as connection:
        return load_decision(connection, decision_id)


def load_decision(connection: Connection, decision_id: str) -> DecisionRecord:
    """The same as `find_decision`, in the caller's transaction."""
    query = select(decisions).where(decisions.c.decision_id == decision_id)
    decision = _first(connection, query)
    if decision is None:
        raise ValueError(f"there is no decision {decision_id!r}; `hone why` lists the last ones")
    return decision


def unanswered_drift(engine: Engine) -> DecisionRecord | None:
    """The newest decision that asks for labels and that no round has acted on; None without one."""
    with engine.connect() as connection:
        return open_drift(connection)


def open_drift(connection: Connection) -> DecisionRecord | None:
    """The same as `unanswered_drift`, in the caller's transaction.

    Accepted traffic is known, and what ended by itself needs no answer.
    """
    ended = select(incidents.c.incident_id).where(incidents.c.closed_at.is_not(None))
    mine = decisions.c.incident_id
    query = (
        select(decisions)
        .where(
            decisions.c.action == Action.LABEL_SERVED,
            decisions.c.answered_by.is_(None),
            decisions.c.accepted_at.is_(None),
            mine.is_(None) | mine.not_in(ended),
        )
        .order_by(decisions.c.last_seq.desc())
    )
    return _first(connection, query)


def last_asking(connection: Connection) -> DecisionRecord | None:
    """The newest decision that asked for labels, answered or not; None before the first."""
    asked = select(decisions).where(decisions.c.action == Action.LABEL_SERVED)
    return _first(connection, asked.order_by(decisions.c.decided_at.desc()))


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


def accept_decision(
    connection: Connection, decision_id: str, *, who: str, why: str
) -> DecisionRecord:
    """Take the traffic of a decision for known, by a person's word; the first word stays."""
    if not who.strip() or not why.strip():
        raise ValueError(f"accepting a drift needs who ({who!r}) and why ({why!r}); give both")
    decision = load_decision(connection, decision_id)
    if decision.last_seq < decision.first_seq:
        raise ValueError(f"{decision_id} is a check without traffic: there is nothing to accept")
    mine = decisions.c.decision_id == decision_id, decisions.c.accepted_at.is_(None)
    accepted = {"accepted_by": who, "accepted_why": why, "accepted_at": now()}
    journal.update(connection, decisions, *mine, **accepted)
    return decision


def known_windows(connection: Connection, rounds: Sequence[str]) -> list[DecisionRecord]:
    """The windows that count as known, newest first: accepted, or answered by one of the rounds.

    Without their signals.
    """
    known = decisions.c.accepted_at.is_not(None) | decisions.c.answered_by.in_(list(rounds))
    has_rows = decisions.c.last_seq >= decisions.c.first_seq
    query = select(decisions).where(known, has_rows).order_by(decisions.c.last_seq.desc())
    return [_without_signals(row) for row in connection.execute(query)]


def decisions_of(connection: Connection, incident_id: str) -> list[DecisionRecord]:
    """The decisions of an incident, the first first, without their signals."""
    mine = select(decisions).where(decisions.c.incident_id == incident_id)
    rows = connection.execute(mine.order_by(decisions.c.decided_at))
    return [_without_signals(row) for row in rows]


def count_checks(connection: Connection, since: str) -> int:
    """How many checks of traffic, or of outcomes, there were since then."""
    query = select(func.count()).select_from(decisions)
    mine = signals.c.decision_id == decisions.c.decision_id
    measured = select(signals.c.name).where(mine, signals.c.rows > 0).exists()
    has_rows = decisions.c.last_seq >= decisions.c.first_seq
    return connection.scalar(query.where(decisions.c.decided_at >= since, has_rows | measured)) or 0


def checked_up_to(engine: Engine, model: str) -> int:
    """The `seq` up to which the predictions of `model` were decided on; 0 before the first."""
    with engine.connect() as connection:
        return _checked_up_to(connection, model)


def _checked_up_to(connection: Connection, model: str) -> int:
    last = select(func.max(decisions.c.last_seq)).where(decisions.c.model == model)
    return connection.scalar(last) or 0


def _first(connection: Connection, query: Select[Any]) -> DecisionRecord | None:
    row = connection.execute(query.limit(1)).first()
    return None if row is None else _record(connection, row)


def _record(connection: Connection, row: Row[Any]) -> DecisionRecord:
    of_decision = select(signals).where(signals.c.decision_id == row.decision_id)
    measured = connection.execute(of_decision.order_by(signals.c.name)).all()
    return _without_signals(row, tuple(map(_signal, measured)))


def _without_signals(row: Row[Any], measured: tuple[Signal, ...] = ()) -> DecisionRecord:
    fields = {**row._mapping, "action": Action(row.action)}
    return DecisionRecord(**fields, signals=measured)


def _signal(row: Row[Any]) -> Signal:
    old = row.family is None  # its detail is a sentence
    return Signal(
        name=row.name,
        family=Family(row.family or Family.OUTPUTS),
        outcome=Shift(row.outcome),
        value=row.statistic,
        threshold=row.threshold,
        evidence=row.evidence or 0.0,
        accumulated=row.accumulated or 0.0,
        p_value=row.p_value,
        rows=row.rows,
        groups=row.groups or row.rows,
        meaning=row.detail if old else row.meaning or "",
        detail={} if old else json.loads(row.detail),
    )


def _signal_row(decision_id: str, signal: Signal) -> dict[str, Any]:
    return {
        "decision_id": decision_id, "name": signal.name, "outcome": str(signal.outcome),
        "statistic": signal.value, "p_value": signal.p_value, "threshold": signal.threshold,
        "rows": signal.rows, "detail": json.dumps(dict(signal.detail), allow_nan=False),
        "family": str(signal.family), "evidence": signal.evidence,
        "accumulated": signal.accumulated, "groups": signal.groups, "meaning": signal.meaning,
    }  # fmt: skip
