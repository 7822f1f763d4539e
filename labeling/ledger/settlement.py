"""What labels are settled from, which samples wait for it, and the labels in force."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Row, func, select

from core import journal
from core.database import now
from core.rows import chunks
from core.table_schema import Schema, Type
from labeling.ledger.gold import gold_labels
from labeling.ledger.pending import LAST_FULL
from labeling.ledger.reasons import ASKED_FOR_ITSELF, AnswerKind
from labeling.ledger.tables import (
    answers,
    assignments,
    label_answers,
    labels,
)
from labeling.ledger.watermarks import save_watermark, watermark_of

ANSWERS = Schema(
    "answers in force",
    {
        "seq": Type.INTEGER,
        "sample_id": Type.TEXT,
        "annotator": Type.TEXT,
        "kind": Type.TEXT,  # an AnswerKind
        "value": Type.OPTIONAL_TEXT,  # none of a skip
        "round_id": Type.OPTIONAL_TEXT,
    },
    key=("seq",),
)


@dataclass(frozen=True)
class LedgerState:
    """The answers of annotators and the predictions of some samples, as consensus needs them.

    `answers` are those in force (`ANSWERS`), skips too. `probs` are of the model that did not know
    the label yet.
    """

    answers: pd.DataFrame
    probs: pd.DataFrame
    gold: pd.Series


@dataclass(frozen=True)
class FullPass:
    """The last time that all labels were settled together, and by what."""

    policy: dict[str, Any]
    classes: list[str]
    last_answer: int
    annotators: int


def last_full_pass(connection: Connection) -> FullPass | None:
    """The last full pass; None before the first, and after gold changed."""
    known = watermark_of(connection, LAST_FULL)
    return FullPass(**json.loads(known)) if known else None


def save_full_pass(connection: Connection, made: FullPass) -> None:
    """Remember a full pass."""
    save_watermark(connection, LAST_FULL, json.dumps(asdict(made)))


def last_answer(connection: Connection) -> int:
    """The number of the newest answer, a measure of how large the ledger is."""
    return connection.scalar(select(func.max(answers.c.seq))) or 0


def newest_answered(connection: Connection, count: int) -> set[str]:
    """The samples of the newest `count` answers in force."""
    query = select(answers.c.sample_id).where(answers.c.replaced_at.is_(None))
    return set(connection.scalars(query.order_by(answers.c.seq.desc()).limit(count)))


def load_ledger_state(
    connection: Connection, sample_ids: Collection[str] | None = None
) -> LedgerState:
    """What labels are settled from: of all samples, or of these."""
    return LedgerState(
        answers=_load_answers(connection, sample_ids),
        probs=_load_probs(connection, sample_ids),
        gold=gold_labels(connection),
    )


def labels_in_force(
    connection: Connection, sample_ids: Collection[str] | None = None
) -> dict[str, Row[Any]]:
    """The label in force of each sample that has one: of all samples, or of these."""
    query = select(labels).where(labels.c.replaced_at.is_(None))
    return {row.sample_id: row for row in _rows(connection, query, labels.c.sample_id, sample_ids)}


def settled_times(connection: Connection, until: str) -> dict[str, str]:
    """When the label that each sample had at the moment `until` was settled."""
    query = select(labels.c.sample_id, func.max(labels.c.settled_at))
    query = query.where(labels.c.settled_at <= until).group_by(labels.c.sample_id)
    return dict(connection.execute(query).tuples().all())


def cited_answers(connection: Connection, label_seqs: Sequence[int]) -> dict[int, list[int]]:
    """The answers that each of these labels rests on, sorted."""
    cited: dict[int, list[int]] = {seq: [] for seq in label_seqs}
    for keys in chunks(label_seqs):
        query = select(label_answers).where(label_answers.c.label_seq.in_(keys))
        for row in connection.execute(query.order_by(label_answers.c.answer_seq)):
            cited[row.label_seq].append(row.answer_seq)
    return cited


def close_labels(connection: Connection, sample_ids: Sequence[str]) -> None:
    """End the labels in force of these samples; they stay as history."""
    for keys in chunks(sample_ids):
        standing = labels.c.sample_id.in_(keys), labels.c.replaced_at.is_(None)
        journal.update(connection, labels, *standing, replaced_at=now())


def insert_labels(connection: Connection, settled: Sequence[Mapping[str, Any]]) -> None:
    """Record settled labels (`consensus.settle`) and the answers that each rests on."""
    sample_ids = [str(row["sample_id"]) for row in settled]
    asked_in = _last_rounds(connection, sample_ids)
    rows = [
        {
            "sample_id": row["sample_id"],
            "round_id": asked_in.get(row["sample_id"]),
            "label": row["label"],
            "trust": float(row["trust"]),
            "annotators": list(row["annotators"]),
            "method": row["method"],
            "settled_at": now(),
        }
        for row in settled
    ]
    made = journal.insert(connection, labels, rows)
    links = [
        {"label_seq": label["seq"], "answer_seq": int(answer)}
        for label, row in zip(made, settled, strict=True)
        for answer in row["answers"]
    ]
    journal.insert(connection, label_answers, links)


def _last_rounds(connection: Connection, sample_ids: Sequence[str]) -> dict[str, str]:
    """The last round in which each of these samples was asked."""
    asked = assignments.c["sample_id", "round_id"]
    query = select(*asked).order_by(assignments.c.round_id)
    rows = _rows(connection, query, assignments.c.sample_id, sample_ids)
    return {row.sample_id: row.round_id for row in rows}


def _rows(
    connection: Connection, query: Any, column: Any, keys: Collection[str] | None
) -> Iterable[Row[Any]]:
    """The rows of a query: all, or those where `column` is one of `keys`."""
    if keys is None:
        yield from connection.execute(query)
        return
    for part in chunks(sorted(keys)):
        yield from connection.execute(query.where(column.in_(part)))


def _load_answers(connection: Connection, sample_ids: Collection[str] | None) -> pd.DataFrame:
    """The answers in force; one that came after its sample was disputed is a final word."""
    names = ["seq", "sample_id", "annotator", "kind", "value", "round_id", "seen_at"]
    query = select(*answers.c[tuple(names)]).where(answers.c.replaced_at.is_(None))
    rows = [tuple(row) for row in _rows(connection, query, answers.c.sample_id, sample_ids)]
    given = pd.DataFrame(rows, columns=names, dtype=object)
    since = given["sample_id"].map(_disputed(connection))
    is_answer = given["kind"] == AnswerKind.ANSWER
    decides = is_answer & since.notna() & (given["seen_at"] > since.fillna(""))
    given["kind"] = given["kind"].mask(decides, AnswerKind.FINAL)
    return ANSWERS.check(given.drop(columns="seen_at").sort_values("seq", ignore_index=True))


def _disputed(connection: Connection) -> dict[str, str]:
    """Since when each disputed sample waits, or waited, for a final word."""
    query = (
        select(assignments.c.sample_id, func.min(assignments.c.disputed_at))
        .where(assignments.c.disputed_at.is_not(None))
        .group_by(assignments.c.sample_id)
    )
    return dict(connection.execute(query).tuples().all())


def _load_probs(connection: Connection, sample_ids: Collection[str] | None) -> pd.DataFrame:
    """The predictions for each sample when it was last chosen, before its label was known."""
    query = (
        select(assignments.c.sample_id, assignments.c.probs)
        .where(assignments.c.probs.is_not(None), assignments.c.reason.not_in(ASKED_FOR_ITSELF))
        .order_by(assignments.c.round_id)
    )
    predicted: dict[str, dict[str, float]] = {}
    for row in _rows(connection, query, assignments.c.sample_id, sample_ids):
        predicted[row.sample_id] = row.probs
    table = pd.DataFrame(list(predicted.values()), index=pd.Index(list(predicted)))
    table.index.name = "sample_id"
    return table.fillna(0.0)
