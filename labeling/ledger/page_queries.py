"""What the report of a workspace reads of the ledger: counts and sums, never rows of history."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, case, func, select

from core.rows import chunks
from labeling.ledger.reasons import AnswerKind
from labeling.ledger.rounds import IMAGE_COLUMNS
from labeling.ledger.tables import (
    answers,
    audit,
    duels,
    gold,
    labels,
    samples,
    snapshots,
    sources,
)


@dataclass(frozen=True)
class PastDuel:
    """A duel, without its samples."""

    duel_id: str
    champion: str
    challenger: str
    began_at: str
    ended_at: str | None
    outcome: str | None


@dataclass(frozen=True)
class PastSnapshot:
    """A snapshot and how many rows it has."""

    name: str
    rows: int
    created_at: str


@dataclass(frozen=True)
class Share:
    """So many of all."""

    part: int
    whole: int


def past_duels(connection: Connection, *, most: int) -> list[PastDuel]:
    """The newest duels."""
    columns = duels.c["duel_id", "champion", "challenger", "began_at", "ended_at", "outcome"]
    query = select(*columns).order_by(duels.c.number.desc()).limit(most)
    return [PastDuel(*row) for row in connection.execute(query).tuples()]


def past_snapshots(connection: Connection, *, most: int) -> list[PastSnapshot]:
    """The newest snapshots."""
    columns = snapshots.c["name", "rows", "created_at"]
    query = select(*columns).order_by(snapshots.c.number.desc()).limit(most)
    return [PastSnapshot(*row) for row in connection.execute(query).tuples()]


def right_on_gold(connection: Connection) -> Share:
    """How many of the answers to images whose class is known are right; skips do not count."""
    right = func.sum(case((answers.c.value == gold.c.label, 1), else_=0))
    query = (
        select(right, func.count())
        .select_from(gold)
        .join(answers, answers.c.sample_id == gold.c.sample_id)
        .where(answers.c.replaced_at.is_(None), answers.c.value.is_not(None))
    )
    part, whole = connection.execute(query).tuples().one()
    return Share(int(part or 0), int(whole))


def agreed_samples(connection: Connection) -> Share:
    """Of the samples with answers of several annotators, how many have one answer from all."""
    several = (
        select(func.count(answers.c.value.distinct()).label("different"))
        .where(answers.c.replaced_at.is_(None), answers.c.kind == AnswerKind.ANSWER)
        .group_by(answers.c.sample_id)
        .having(func.count(answers.c.annotator.distinct()) > 1)
        .subquery()
    )
    agreed = func.sum(case((several.c.different == 1, 1), else_=0))
    part, whole = (
        connection.execute(select(agreed, func.count()).select_from(several)).tuples().one()
    )
    return Share(int(part or 0), int(whole))


def file_names(connection: Connection, sample_ids: Sequence[str]) -> dict[str, str]:
    """A path from which each of these samples was ingested; none for what was only served."""
    paths: dict[str, str] = {}
    for keys in chunks(sample_ids):
        query = select(sources.c.sample_id, func.min(sources.c.path))
        mine = query.where(sources.c.sample_id.in_(keys)).group_by(sources.c.sample_id)
        paths |= dict(connection.execute(mine).tuples().all())
    return paths


def labelled_audit(connection: Connection, sample_ids: Sequence[str]) -> pd.DataFrame:
    """Those of these samples that are in the audit and have a label: IMAGE_COLUMNS and label."""
    query = (
        select(*samples.c[IMAGE_COLUMNS], labels.c.label)
        .select_from(audit)
        .join(samples, samples.c.sample_id == audit.c.sample_id)
        .join(labels, labels.c.sample_id == audit.c.sample_id)
        .where(labels.c.replaced_at.is_(None))
    )
    rows = [
        row
        for keys in chunks(sample_ids)
        for row in connection.execute(query.where(audit.c.sample_id.in_(keys))).tuples()
    ]
    return pd.DataFrame(rows, columns=[*IMAGE_COLUMNS, "label"])
