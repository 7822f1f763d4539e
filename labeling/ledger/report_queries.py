"""What reports on annotators and labels read: answers with what was shown, labels, assignments."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import pandas as pd
from sqlalchemy import ColumnElement, Connection, and_, exists, func, select

from core.database import now
from core.table_schema import Schema, Type
from labeling.ledger.reasons import RELABEL_REASONS
from labeling.ledger.tables import answers, assignments, labels, refused_answers
from labeling.ledger.watermarks import save_watermark, watermark_of

MAX_REFUSED = 100  # refused answers that are listed one by one
REPORTED = "reported-annotators"  # watermark: the state of the ledger when it was last reported
# A report reads every answer, so that it waits for a hundredth more of them, or for a day: what it
# costs then follows the number of new answers.
GROWTH, MAX_AGE = 0.01, timedelta(days=1)


LABELS = Schema(
    "labels in force",
    {
        "sample_id": Type.TEXT,
        "label": Type.TEXT,
        "trust": Type.NUMBER,
        "method": Type.TEXT,
    },
    key=("sample_id",),
)
SHOWN_ANSWERS = Schema(
    "answers and what was shown",
    {
        "seq": Type.INTEGER,
        "sample_id": Type.TEXT,
        "annotator": Type.TEXT,
        "kind": Type.TEXT,  # a reasons.AnswerKind
        "value": Type.OPTIONAL_TEXT,  # none of a skip
        "lead_time": Type.OPTIONAL_NUMBER,  # seconds
        "round_id": Type.OPTIONAL_TEXT,
        "pre_annotation": Type.OPTIONAL_TEXT,
        "blind": Type.BOOLEAN,
    },
    key=("seq",),
)


@dataclass(frozen=True)
class AssignmentCounts:
    """How assignments were sent to annotators, and how many of them did not settle."""

    sent: int
    blind: int
    overlap: int
    asked_again: int
    disputed: int
    waiting_for_a_final_word: int


@dataclass(frozen=True)
class RefusedAnswer:
    """An answer that does not count, and why."""

    reason: str
    annotator: str | None
    detail: str
    refused_at: str


@dataclass(frozen=True)
class LedgerVersion:
    """A state of answers and labels: two reports of one version are the same."""

    last_answer: int
    changes: list[str]  # when an answer was last withdrawn, and the last label
    settings: list[str]  # the policy and the classes
    at: str

    def needs_report(self, reported: "LedgerVersion | None") -> bool:
        """Whether a report is due after the one that was made of `reported`."""
        if reported is None or self.settings != reported.settings:
            return True
        if (self.last_answer, self.changes) == (reported.last_answer, reported.changes):
            return False
        grown = self.last_answer - reported.last_answer
        age = datetime.fromisoformat(self.at) - datetime.fromisoformat(reported.at)
        return grown >= GROWTH * self.last_answer or age >= MAX_AGE


def ledger_version(connection: Connection, *, settings: Sequence[str]) -> LedgerVersion:
    """The present state of answers and labels, read from the ends of indexes."""
    ends = [
        connection.scalar(select(func.max(end)).where(end.is_not(None)))  # of a partial index
        for end in (answers.c.replaced_at, labels.c.seq, labels.c.replaced_at)
    ]
    return LedgerVersion(
        last_answer=connection.scalar(select(func.max(answers.c.seq))) or 0,
        changes=[str(end) for end in ends],
        settings=list(settings),
        at=now(),
    )


def reported_version(connection: Connection) -> LedgerVersion | None:
    """The state of the ledger when annotators were last reported on; None before that."""
    value = watermark_of(connection, REPORTED)
    return LedgerVersion(**json.loads(value)) if value else None


def save_reported_version(connection: Connection, version: LedgerVersion) -> None:
    """Remember the state of the ledger that a report was made of."""
    save_watermark(connection, REPORTED, json.dumps(asdict(version)))


def load_shown_answers(connection: Connection) -> pd.DataFrame:
    """The answers in force with their assignment's pre-annotation (`SHOWN_ANSWERS`).

    A review has no pre-annotation: nobody was shown the class that it suggests.
    """
    assignment = and_(
        assignments.c.sample_id == answers.c.sample_id,
        assignments.c.round_id == answers.c.round_id,
        assignments.c.reason.not_in(RELABEL_REASONS),
    )
    columns = answers.c["seq", "sample_id", "annotator", "kind", "value", "lead_time", "round_id"]
    query = (
        select(*columns, assignments.c.pre_annotation, func.coalesce(assignments.c.blind, False))
        .join(assignments, assignment, isouter=True)
        .where(answers.c.replaced_at.is_(None))
        .order_by(answers.c.seq)
    )
    rows = connection.execute(query).tuples().all()
    names = [*(column.name for column in columns), "pre_annotation", "blind"]
    table = pd.DataFrame(rows, columns=names, dtype=object)
    return SHOWN_ANSWERS.check(table.astype({"blind": bool}))


def load_label_table(connection: Connection) -> pd.DataFrame:
    """The labels in force (`LABELS`)."""
    query = select(*labels.c[tuple(LABELS.columns)])
    rows = connection.execute(query.where(labels.c.replaced_at.is_(None))).tuples().all()
    return LABELS.check(pd.DataFrame(rows, columns=list(LABELS.columns)))


def count_assignments(connection: Connection) -> AssignmentCounts:
    """How the assignments were sent, and how many of them are disputed."""
    sent = assignments.c.sent_at.is_not(None)
    disputed = assignments.c.disputed_at.is_not(None)

    def count(*where: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(assignments).where(*where)
        return connection.scalar(query) or 0

    return AssignmentCounts(
        sent=count(sent),
        blind=count(sent, assignments.c.blind),
        # each time it is asked again one annotator more is required: that is no overlap
        overlap=count(sent, assignments.c.required_annotators - assignments.c.asked_again > 1),
        asked_again=count(assignments.c.asked_again > 0),
        disputed=count(disputed),
        waiting_for_a_final_word=count(disputed, assignments.c.closed_at.is_(None)),
    )


def refused_by_reason(connection: Connection) -> dict[str, int]:
    """How many answers are refused, by reason."""
    reason = refused_answers.c.reason
    query = select(reason, func.count()).where(_is_refused()).group_by(reason).order_by(reason)
    return dict(connection.execute(query).tuples().all())


def newest_refused(connection: Connection) -> list[RefusedAnswer]:
    """The refused answers, the newest first."""
    columns = refused_answers.c["reason", "annotator", "detail", "seen_at"]
    order = refused_answers.c.seen_at.desc(), refused_answers.c.external_id
    newest = select(*columns).where(_is_refused()).order_by(*order).limit(MAX_REFUSED)
    return [RefusedAnswer(*row) for row in connection.execute(newest).tuples()]


def _is_refused() -> ColumnElement[bool]:
    """Whether a refused answer was not corrected since: a corrected one is in force."""
    same = answers.c["source", "external_id"], refused_answers.c["source", "external_id"]
    corrected = and_(*(one == other for one, other in zip(*same, strict=True)))
    return ~exists().where(corrected, answers.c.replaced_at.is_(None))
