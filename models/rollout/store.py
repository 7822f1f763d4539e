"""What trials recorded, in the database, and what is asked of it.

A record of the spool is a row of `shadow_records` and one of `shadow_answers` for each answer.
Both can be made again from the segments (`models.rollout.spool`); the evidence of each step stands
in the release record.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    Table,
    Text,
    case,
    func,
    insert,
    select,
    update,
)

from core.database import Json, metadata, now
from models.watching.outcome_tables import Standing, truths

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 100_000  # that one check looks at; the next goes on behind them
ANSWER_COLUMNS = ("seq", "sample_id", "source", "served_at", "served_label", "served_review",
                  "label", "needs_review", "error")  # fmt: skip

shadow_records = Table(
    "shadow_records",
    metadata,
    Column("record_id", Text, primary_key=True),
    Column("seq", Integer, nullable=False, unique=True),  # order of draining
    Column("release", Integer, nullable=False),
    Column("champion", Text, nullable=False),
    Column("challenger", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("passed_over", Integer, nullable=False),
    Column("champion_answered", Integer, nullable=False),  # to clients, as the following
    Column("champion_failed", Integer, nullable=False),
    Column("challenger_answered", Integer, nullable=False),
    Column("challenger_failed", Integer, nullable=False),
    Column("timings", Json, nullable=False),  # seconds of champion and challenger, pair by pair
)
Index("ix_shadow_records_challenger", shadow_records.c.challenger, shadow_records.c.seq)

shadow_answers = Table(
    "shadow_answers",
    metadata,
    Column("prediction_id", Text, primary_key=True),  # of what was served
    Column("challenger", Text, primary_key=True),
    Column("seq", Integer, nullable=False, unique=True),
    Column("release", Integer, nullable=False),
    Column("champion", Text, nullable=False),
    Column("sample_id", Text, nullable=False),
    Column("source", Text),
    Column("served_at", Text, nullable=False),
    Column("served_label", Text, nullable=False),
    Column("served_review", Boolean, nullable=False),
    Column("label", Text),  # None: the challenger failed
    Column("confidence", Float),
    Column("needs_review", Boolean),
    Column("error", Text),
    Column("repeated", Boolean, nullable=False),  # the image was answered before
    Column("judged", Boolean),  # whether a check observed its truth, which counts once
)
Index("ix_shadow_answers_sample", shadow_answers.c.challenger, shadow_answers.c.sample_id)
Index("ix_shadow_answers_challenger", shadow_answers.c.challenger, shadow_answers.c.seq)

# What the next check of a trial goes on from; made again from the rows above when it is lost.
trials = Table(
    "trials",
    metadata,
    Column("release", Integer, primary_key=True, autoincrement=False),  # that began it
    Column("last_record", Integer, nullable=False),
    Column("last_answer", Integer, nullable=False),
    Column("last_truth", Integer, nullable=False),
    Column("evidence", Json, nullable=False),
    Column("checked_at", Text, nullable=False),
)


@dataclass(frozen=True)
class TrialState:
    """What the checks of a trial have gathered, and up to where."""

    release: int
    last_record: int = 0
    last_answer: int = 0
    last_truth: int = 0
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialCounts:
    """How much of the traffic a challenger has answered, and how it answered."""

    compared: int = 0  # images that both answered, in shadow
    first: int = 0  # of these the ones that it had never been asked about before
    failed: int = 0
    passed_over: int = 0
    disagreements: int = 0
    answered: int = 0  # images of clients, in a canary

    @property
    def share(self) -> float | None:
        """The share of what it was to be asked about that it was asked; None before the first."""
        asked = self.compared + self.failed
        return asked / (asked + self.passed_over) if asked + self.passed_over else None


def load_trial(connection: Connection, release: int) -> TrialState:
    """What the checks of the trial that a release began have gathered."""
    row = connection.execute(select(trials).where(trials.c.release == release)).first()
    if row is None:
        return TrialState(release)
    values = dict(row._mapping)
    del values["checked_at"]
    return TrialState(**values)


def save_trial(connection: Connection, state: TrialState) -> None:
    """Store what a check gathered, in its transaction."""
    values = {**asdict(state), "checked_at": now()}
    known = update(trials).where(trials.c.release == state.release).values(**values)
    if not connection.execute(known).rowcount:
        connection.execute(insert(trials).values(**values))


def new_records(
    connection: Connection, challenger: str, *, since: int, after: int
) -> "pd.DataFrame":
    """The records of a challenger since a release that follow a number, in their order."""
    return _table(connection, shadow_records, list(shadow_records.c.keys()), challenger,
                  since=since, after=after)  # fmt: skip


def new_answers(
    connection: Connection, challenger: str, *, since: int, after: int
) -> "pd.DataFrame":
    """The answers since a release that follow a number; of an image that came again the first."""
    return _table(connection, shadow_answers, list(ANSWER_COLUMNS), challenger,
                  since=since, after=after, condition=~shadow_answers.c.repeated)  # fmt: skip


def new_truths(
    connection: Connection, challenger: str, *, since: int, after: int
) -> "pd.DataFrame":
    """Confirmed truths about images that champion and challenger answered, by their number.

    What was corrected, or made again, since a check observed it has a new number, and is not new.
    """
    import pandas as pd

    of_answer = shadow_answers.c["served_at", "source", "served_label", "label"]
    query = (
        select(truths.c.number, truths.c.truth, *of_answer)
        .join(shadow_answers, shadow_answers.c.prediction_id == truths.c.prediction_id)
        .where(*_awaits_truth(challenger, since))
        .where(truths.c.standing == Standing.JUDGES, truths.c.number > after)
        .order_by(truths.c.number)
        .limit(MOST_ROWS)
    )
    if after:  # a trial whose state was lost begins anew, with all of them
        query = query.where(shadow_answers.c.judged.is_not(True))
    columns = ["number", "truth", "served_at", "source", "served_label", "label"]
    return pd.DataFrame(connection.execute(query).all(), columns=columns)


def mark_judged(
    connection: Connection, challenger: str, *, since: int, after: int, to: int
) -> None:
    """Record that a check observed the truths of these numbers."""
    observed = select(truths.c.prediction_id).where(
        truths.c.standing == Standing.JUDGES, truths.c.number > after, truths.c.number <= to
    )
    mine = *_awaits_truth(challenger, since), shadow_answers.c.prediction_id.in_(observed)
    connection.execute(update(shadow_answers).where(*mine).values(judged=True))


def _awaits_truth(challenger: str, since: int) -> tuple[Any, ...]:
    of = shadow_answers.c
    return of.challenger == challenger, of.release >= since, of.label.is_not(None), ~of.repeated


def trial_counts(connection: Connection, challenger: str, *, since: int) -> TrialCounts:
    """What a challenger has seen since a release."""
    mine = shadow_records.c.challenger == challenger, shadow_records.c.release >= since
    names = ("answered", "failed", "passed_over", "challenger_answered")
    sums = [func.sum(shadow_records.c[name]) for name in names]
    compared, failed, passed_over, answered = connection.execute(select(*sums).where(*mine)).one()
    of = shadow_answers.c
    made = select(
        func.sum(case((~of.repeated, 1), else_=0)),
        func.sum(case((of.label != of.served_label, 1), else_=0)),
    ).where(of.challenger == challenger, of.release >= since, of.label.is_not(None))
    first, differ = connection.execute(made).one()
    return TrialCounts(
        compared=compared or 0,
        first=first or 0,
        failed=failed or 0,
        passed_over=passed_over or 0,
        disagreements=differ or 0,
        answered=answered or 0,
    )


def has_shadowed(connection: Connection, champion: str, challenger: str) -> bool:
    """Whether the challenger has ever answered what the champion answered."""
    mine = shadow_answers.c.challenger == challenger, shadow_answers.c.champion == champion
    return (
        connection.execute(select(shadow_answers.c.seq).where(*mine).limit(1)).first() is not None
    )


def disagreeing_predictions(connection: Connection, limit: int) -> list[str]:
    """What was served where a challenger's answer differed, the newest first."""
    return _disagreeing(connection, "prediction_id", limit)


def disagreeing_samples(connection: Connection, limit: int) -> list[str]:
    """The images that a challenger answered differently from the champion, the newest first."""
    return _disagreeing(connection, "sample_id", limit)


def _disagreeing(connection: Connection, name: str, limit: int) -> list[str]:
    query = (
        select(shadow_answers.c[name])
        .where(~shadow_answers.c.repeated, shadow_answers.c.label != shadow_answers.c.served_label)
        .order_by(shadow_answers.c.seq.desc())
        .limit(limit)
    )
    return list(dict.fromkeys(connection.scalars(query)))


def _table(
    connection: Connection,
    table: Table,
    names: list[str],
    challenger: str,
    *,
    since: int,
    after: int,
    condition: Any = True,
) -> "pd.DataFrame":
    import pandas as pd

    query = (
        select(*(table.c[name] for name in names))
        .where(table.c.challenger == challenger, table.c.release >= since, table.c.seq > after)
        .where(condition)
        .order_by(table.c.seq)
        .limit(MOST_ROWS)
    )
    return pd.DataFrame(connection.execute(query).all(), columns=names)
