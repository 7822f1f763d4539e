"""What was refused: files at ingest, and answers at collect or import."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from core.rows import chunks
from labeling.ledger.tables import refusals, refused_answers


@dataclass(frozen=True)
class RefusedFile:
    """A file that did not become a sample."""

    path: str
    reason: str  # a core.images.Reason
    detail: str
    size: int  # bytes
    refused_at: str


@dataclass(frozen=True)
class RefusedAnswer:
    """An answer that no label is settled from."""

    source: str
    external_id: str
    sample_id: str | None
    annotator: str | None
    reason: str
    detail: str
    refused_at: str


def list_refused_files(
    connection: Connection, *, reason: str | None = None, limit: int | None = None
) -> list[RefusedFile]:
    """Refused files, of one reason or of all, the newest first."""
    columns = refusals.c["path", "reason", "detail", "size", "refused_at"]
    query = select(*columns).order_by(refusals.c.refused_at.desc(), refusals.c.path).limit(limit)
    if reason is not None:
        query = query.where(refusals.c.reason == reason)
    return [RefusedFile(*row) for row in connection.execute(query)]


def list_refused_answers(
    connection: Connection, *, reason: str | None = None, limit: int | None = None
) -> list[RefusedAnswer]:
    """Refused answers, of one reason or of all, the newest first."""
    columns = refused_answers.c[
        "source", "external_id", "sample_id", "annotator", "reason", "detail", "seen_at"
    ]
    newest = refused_answers.c.seen_at.desc(), refused_answers.c.external_id
    query = select(*columns).order_by(*newest).limit(limit)
    if reason is not None:
        query = query.where(refused_answers.c.reason == reason)
    return [RefusedAnswer(*row) for row in connection.execute(query)]


def refused_for(connection: Connection, reason: str, paths: Collection[str]) -> set[str]:
    """Those of these files that were refused for this reason."""
    mine = refusals.c.path, refusals.c.reason == reason
    return {
        path
        for part in chunks(sorted(paths))
        for path in connection.scalars(select(mine[0]).where(mine[1], mine[0].in_(part)))
    }
