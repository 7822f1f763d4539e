"""The releases and verdicts of the past, newest first, for people to read."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from models.registry.overview import Accuracy, pool_accuracy, traffic_accuracy
from models.registry.versions import models, releases, verdicts


@dataclass(frozen=True)
class PastRelease:
    """A release, with what its model was trained on and how good it was judged to be."""

    number: int
    version: str
    who: str
    why: str
    released_at: str
    snapshot: str
    verdict_id: str | None


@dataclass(frozen=True)
class PastVerdict:
    """A verdict, with the accuracy of the challenger by the audit."""

    verdict_id: str
    challenger: str
    champion: str | None
    snapshot: str
    outcome: str
    reasons: list[str]
    decided_at: str
    accuracy: Accuracy | None  # on images of the pool; None when it was never measured
    traffic_accuracy: Accuracy | None


def past_releases(connection: Connection, *, most: int) -> list[PastRelease]:
    """The newest releases."""
    query = (
        select(
            *releases.c["number", "champion", "who", "why", "released_at"],
            models.c.snapshot,
            releases.c.verdict_id,
        )
        .join(models, models.c.version == releases.c.champion)
        .order_by(releases.c.number.desc())
        .limit(most)
    )
    return [PastRelease(*row) for row in connection.execute(query).tuples()]


def past_verdicts(connection: Connection, *, most: int) -> list[PastVerdict]:
    """The newest verdicts."""
    query = select(verdicts).order_by(verdicts.c.decided_at.desc()).limit(most)
    return [
        PastVerdict(
            verdict_id=row.verdict_id,
            challenger=row.challenger,
            champion=row.champion,
            snapshot=row.snapshot,
            outcome=row.outcome,
            reasons=list(row.reasons),
            decided_at=row.decided_at,
            accuracy=pool_accuracy(row),
            traffic_accuracy=traffic_accuracy(row),
        )
        for row in connection.execute(query)
    ]
