"""Duels: what is asked of two models' disagreements, and which answers count.

The order of the samples is drawn before anybody answers and never changes. Answers count in that
order, up to the first sample that is still open, so that who answers fast has no influence; what
was counted stays counted, whatever becomes of the label later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, takewhile
from operator import attrgetter
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Row, Select, func, select

from core import journal
from core.database import now
from core.locks import Token, fence
from core.rows import records
from core.table_schema import Schema, Type
from labeling.batches.batch import Batch
from labeling.ledger import rounds
from labeling.ledger.reasons import Outcome, Reason, SampleState
from labeling.ledger.tables import (
    assignments,
    duel_samples,
    duels,
    labels,
    pending_settlement,
    sample_states,
)

DRAWN = Schema(
    "drawn for a duel",
    {
        "sample_id": Type.TEXT,
        "population": Type.TEXT,
        "position": Type.INTEGER,  # from 0 in each population
        "champion_output": Type.OBJECT,
        "challenger_output": Type.OBJECT,
    },
    key=("sample_id",),
)
DUEL_SAMPLES = Schema(
    "samples of a duel",
    {
        **DRAWN.columns,
        "round_id": Type.OPTIONAL_TEXT,
        "ending": Type.OPTIONAL_TEXT,
        "answer": Type.OPTIONAL_TEXT,
        "value": Type.OPTIONAL_NUMBER,
        "counted_at": Type.OPTIONAL_TEXT,
    },
    key=("sample_id",),
)


class Ending(StrEnum):
    """How a question of a duel ended when it was counted; only a label is evidence."""

    LABELLED = "labelled"
    DISPUTED = "disputed"  # annotators disagree, also where somebody has the final word later
    SKIPPED = "skipped"
    DELETED = "deleted"  # its task, or the answer that its label rested on
    ELSEWHERE = "elsewhere"  # labelled, asked or held for another purpose before its turn


@dataclass(frozen=True)
class Duel:
    """A row of `duels`."""

    duel_id: str
    number: int
    champion: str
    challenger: str
    snapshot: str
    plan: dict[str, Any]
    approval: str
    began_at: str
    ended_at: str | None
    outcome: str | None
    verdict_id: str | None


Value = Callable[[Row[Any], str], int]  # of a row of `duel_samples` and the label it got


def duel_name(number: int) -> str:
    """`duel-0001` for 1."""
    return f"duel-{number:04d}"


def new_number(connection: Connection) -> int:
    """The number of the duel that begins next."""
    return (connection.scalar(select(func.max(duels.c.number))) or 0) + 1


def open_duel(connection: Connection) -> Duel | None:
    """The duel under way; None when there is none."""
    return _first(connection, select(duels).where(duels.c.ended_at.is_(None)))


def newest_duel(connection: Connection) -> Duel | None:
    """The duel that began last, ended or not; None before the first."""
    return _first(connection, select(duels).order_by(duels.c.number.desc()).limit(1))


def duel_between(connection: Connection, *, champion: str, challenger: str) -> Duel | None:
    """The duel of these two, ended or not: two models have one duel at most."""
    pair = duels.c.champion == champion, duels.c.challenger == challenger
    return _first(connection, select(duels).where(*pair))


def duel_of_verdict(connection: Connection, verdict_id: str) -> Duel | None:
    """The duel that ended with this verdict; None for a verdict without one."""
    return _first(connection, select(duels).where(duels.c.verdict_id == verdict_id))


def all_duels(connection: Connection) -> list[Duel]:
    """Every duel, in their order."""
    every = select(duels).order_by(duels.c.number)
    return [Duel(**row._mapping) for row in connection.execute(every)]


def duel_of_round(connection: Connection, round_id: str) -> int | None:
    """The number of the duel whose samples a round asks about; None for other rounds."""
    query = select(duels.c.number).join(duel_samples, duel_samples.c.duel_id == duels.c.duel_id)
    return connection.scalar(query.where(duel_samples.c.round_id == round_id).limit(1))


def begin_duel(
    connection: Connection,
    token: Token,
    *,
    champion: str,
    challenger: str,
    snapshot: str,
    plan: Mapping[str, Any],
    approval: str,
    drawn: pd.DataFrame,
) -> Duel:
    """Record a duel with everything that may be asked in it, as DRAWN declares.

    A second duel beside one that is under way is an error.
    """
    fence(connection, token)
    if (other := open_duel(connection)) is not None:
        raise ValueError(f"{other.duel_id} is under way; a second duel begins when it has ended")
    number = new_number(connection)
    duel = Duel(
        duel_name(number),
        number,
        champion,
        challenger,
        snapshot,
        dict(plan),
        approval,
        began_at=now(),
        ended_at=None,
        outcome=None,
        verdict_id=None,
    )
    journal.insert(connection, duels, [vars(duel)])
    rows = [{"duel_id": duel.duel_id, **row} for row in records(DRAWN.check(drawn))]
    journal.insert(connection, duel_samples, rows)
    return duel


def load_duel_samples(connection: Connection, duel_id: str) -> pd.DataFrame:
    """The samples of a duel in the order drawn, as DUEL_SAMPLES declares."""
    rows = [tuple(row) for row in connection.execute(_samples_of(duel_id))]
    names = [column.name for column in duel_samples.c]
    table = pd.DataFrame(rows, columns=names, dtype=object)
    return DUEL_SAMPLES.check(table[list(DUEL_SAMPLES.columns)])


def count_answers(connection: Connection, token: Token, duel_id: str, value: Value) -> int:
    """Count what was answered since the last time, in the order drawn; return how many samples."""
    fence(connection, token)
    is_pending = duel_samples.c.sample_id.in_(select(pending_settlement.c.sample_id))
    label = (labels.c.sample_id == duel_samples.c.sample_id) & labels.c.replaced_at.is_(None)
    asked = (assignments.c.sample_id == duel_samples.c.sample_id) & (
        assignments.c.round_id == duel_samples.c.round_id
    )
    query = (
        _samples_of(duel_id)
        .add_columns(assignments.c.outcome, assignments.c.disputed_at, sample_states.c.state)
        .add_columns(labels.c.label, is_pending.label("is_pending"))
        .join(sample_states, sample_states.c.sample_id == duel_samples.c.sample_id)
        .outerjoin(assignments, asked)
        .outerjoin(labels, label)
        .where(duel_samples.c.counted_at.is_(None))
    )
    counted: list[dict[str, Any]] = []
    for _, rows in groupby(connection.execute(query).all(), key=attrgetter("population")):
        done = takewhile(attrgetter("ending"), map(_Question.of, rows))
        counted += [_counted(duel_id, question, value) for question in done]
    journal.update_rows(connection, duel_samples, counted)
    return len(counted)


def ask_next(
    connection: Connection, token: Token, duel: Duel, size: int, populations: Sequence[str]
) -> str | None:
    """Open a round with the next samples of a duel, the populations in turn; return its name.

    None when nothing of these populations is left to ask.
    """
    fence(connection, token)
    query = (
        _samples_of(duel.duel_id)
        .join(sample_states, sample_states.c.sample_id == duel_samples.c.sample_id)
        .where(duel_samples.c.round_id.is_(None), duel_samples.c.counted_at.is_(None))
        .where(sample_states.c.state == SampleState.POOL)
        .where(duel_samples.c.population.in_(populations))
        .order_by(None)
        .order_by(duel_samples.c.position, duel_samples.c.population)
    )
    names = [row.sample_id for row in connection.execute(query.limit(size))]
    if not names:
        return None
    round_id = rounds.new_round(connection)
    rounds.open_round(
        connection,
        token,
        round_id,
        Batch.of(names, reason=str(Reason.DUEL), blind=True),
        strategy=Reason.DUEL,
        rule=f"chance, among what two models answer differently ({duel.duel_id})",
        config={"duel": duel.number, "size": size},
        model=None,
        seed=0,
        why=duel.duel_id,
    )
    mine = [{"duel_id": duel.duel_id, "sample_id": name, "round_id": round_id} for name in names]
    journal.update_rows(connection, duel_samples, mine)
    return round_id


def unsent_round(connection: Connection, duel_id: str) -> str | None:
    """The round of a duel that was opened and not sent wholly; None when all were sent."""
    mine = select(duel_samples.c.round_id).where(duel_samples.c.duel_id == duel_id)
    opened = set(connection.scalars(mine.where(duel_samples.c.round_id.is_not(None))))
    return min(opened & set(rounds.unsent_rounds(connection)), default=None)


def count_waiting(connection: Connection, duel_id: str) -> int:
    """How many samples of a duel were asked and are not counted yet."""
    waiting = duel_samples.c.round_id.is_not(None), duel_samples.c.counted_at.is_(None)
    query = select(func.count()).where(duel_samples.c.duel_id == duel_id, *waiting)
    return connection.scalar(query) or 0


def end_duel(
    connection: Connection, token: Token, duel: Duel, *, outcome: str, verdict_id: str
) -> None:
    """Close a duel with its verdict, in the transaction that records that."""
    fence(connection, token)
    ended = {"ended_at": now(), "outcome": outcome, "verdict_id": verdict_id}
    journal.update_rows(connection, duels, [{"duel_id": duel.duel_id, **ended}])


@dataclass(frozen=True)
class _Question:
    """A sample of a duel that is not counted yet, and how its question ended, if it did."""

    row: Row[Any]
    ending: Ending | None

    @classmethod
    def of(cls, row: Row[Any]) -> "_Question":
        return cls(row, _ending(row))


def _ending(row: Row[Any]) -> Ending | None:
    if row.round_id is None:
        return None if row.state == SampleState.POOL else Ending.ELSEWHERE
    if row.outcome == Outcome.DELETED:
        return Ending.DELETED
    if row.disputed_at is not None:
        return Ending.DISPUTED
    if row.outcome is None or row.is_pending:
        return None
    if row.outcome == Outcome.SKIPPED:
        return Ending.SKIPPED
    return Ending.DELETED if row.label is None else Ending.LABELLED


def _counted(duel_id: str, question: _Question, value: Value) -> dict[str, Any]:
    row, is_labelled = question.row, question.ending == Ending.LABELLED
    return {
        "duel_id": duel_id,
        "sample_id": row.sample_id,
        "ending": question.ending,
        "answer": row.label if is_labelled else None,
        "value": value(row, row.label) if is_labelled else 0,
        "counted_at": now(),
    }


def _samples_of(duel_id: str) -> Select[Any]:
    mine = select(duel_samples).where(duel_samples.c.duel_id == duel_id)
    return mine.order_by(duel_samples.c.population, duel_samples.c.position)


def _first(connection: Connection, query: Select[Any]) -> Duel | None:
    row = connection.execute(query).first()
    return None if row is None else Duel(**row._mapping)
