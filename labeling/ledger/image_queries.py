"""Which images were ingested or refused, by path and by sample."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from core.rows import chunks
from labeling.ledger.tables import answers, refusals, samples, sources


@dataclass(frozen=True)
class RefusedFile:
    """An image file that did not become a sample, and why."""

    path: str
    reason: str
    detail: str


def stored_digests(connection: Connection, sample_ids: Collection[str]) -> dict[str, str]:
    """The SHA-256 of the stored bytes of those of these samples that exist."""
    digests: dict[str, str] = {}
    for keys in chunks(sorted(set(sample_ids))):
        query = select(*samples.c["sample_id", "stored_sha256"])
        rows = connection.execute(query.where(samples.c.sample_id.in_(keys)))
        digests |= dict(rows.tuples().all())
    return digests


def ingest_outcomes(connection: Connection, paths: Collection[str]) -> dict[str, str | RefusedFile]:
    """The sample that each path became, or why it was refused; without those never ingested."""
    outcomes: dict[str, str | RefusedFile] = {}
    for keys in chunks(sorted(set(paths))):
        ingested = select(*sources.c["path", "sample_id"]).where(sources.c.path.in_(keys))
        outcomes |= dict(connection.execute(ingested).tuples().all())
        refused = select(*refusals.c["path", "reason", "detail"]).where(refusals.c.path.in_(keys))
        for row in connection.execute(refused).tuples():
            outcomes[row[0]] = RefusedFile(*row)
    return outcomes


def samples_answered_by(connection: Connection, source: str) -> set[str]:
    """The samples that answers in force of this source are about."""
    in_force = answers.c.source == source, answers.c.replaced_at.is_(None)
    return set(connection.scalars(select(answers.c.sample_id).where(*in_force)))
