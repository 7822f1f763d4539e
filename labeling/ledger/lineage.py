"""Where a sample came from, and the label it got with the answers that it rests on."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from labeling.ledger.tables import (
    answers,
    label_answers,
    labels,
    samples,
    snapshots,
    sources,
)


@dataclass(frozen=True)
class SampleOrigin:
    """Where the image of a sample is stored and which files it came from."""

    shard: str
    stored_sha256: str
    group_id: str
    origin: str
    added_at: str
    sources: list[str]  # paths


@dataclass(frozen=True)
class LabelAnswer:
    """One answer that a label rests on."""

    seq: int
    source: str
    annotator: str
    value: str | None
    updated_at: str


@dataclass(frozen=True)
class LabelOrigin:
    """A label in force and what it rests on."""

    label: str
    trust: float
    round_id: str | None
    annotators: list[str]
    method: str
    settled_at: str
    answers: list[LabelAnswer]


@dataclass(frozen=True)
class SnapshotRecord:
    """A snapshot as it is on record."""

    name: str
    number: int
    fingerprint: str
    table_sha256: str
    rows: int
    commit: str
    seed: int
    created_at: str


def sample_origin(connection: Connection, sample_id: str) -> SampleOrigin | None:
    """Where a sample came from; None for what is no sample."""
    columns = samples.c["shard", "stored_sha256", "group_id", "origin", "added_at"]
    row = connection.execute(select(*columns).where(samples.c.sample_id == sample_id)).first()
    if row is None:
        return None
    paths = select(sources.c.path).where(sources.c.sample_id == sample_id)
    files = list(connection.scalars(paths.order_by(sources.c.path)))
    return SampleOrigin(**row._mapping, sources=files)


def label_origin(connection: Connection, sample_id: str) -> LabelOrigin | None:
    """The label in force of a sample; None while it has none."""
    mine = labels.c.sample_id == sample_id, labels.c.replaced_at.is_(None)
    columns = labels.c["seq", "label", "trust", "round_id", "annotators", "method", "settled_at"]
    row = connection.execute(select(*columns).where(*mine)).first()
    if row is None:
        return None
    cited = (
        select(*answers.c["seq", "source", "annotator", "value", "updated_at"])
        .join(label_answers, label_answers.c.answer_seq == answers.c.seq)
        .where(label_answers.c.label_seq == row.seq)
        .order_by(answers.c.seq)
    )
    return LabelOrigin(
        label=row.label,
        trust=row.trust,
        round_id=row.round_id,
        annotators=row.annotators,
        method=row.method,
        settled_at=row.settled_at,
        answers=[LabelAnswer(*answer) for answer in connection.execute(cited)],
    )


def find_snapshot(connection: Connection, name: str) -> SnapshotRecord | None:
    """The record of a snapshot; None for an unknown one."""
    row = connection.execute(select(snapshots).where(snapshots.c.name == name)).first()
    return None if row is None else SnapshotRecord(**row._mapping)
