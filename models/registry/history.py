"""The releases and verdicts of the past, newest first, for people to read."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from models.registry.overview import Accuracy, pool_accuracy, traffic_accuracy
from models.registry.releases import Action, releases
from models.registry.versions import models, verdicts


@dataclass(frozen=True)
class PastRelease:
    """A change of what is released, with what its champion was trained on."""

    number: int
    version: str
    who: str
    why: str
    released_at: str
    snapshot: str
    verdict_id: str | None
    action: str = Action.RELEASE
    challenger: str | None = None  # in shadow or canary from here on
    share: float = 0.0  # percent of the clients that it answers

    def words(self) -> str:
        """What it changed, in a few words."""
        if self.action == Action.CANARY:
            return f"canary {self.challenger} at {self.share:g} %"
        return f"shadow {self.challenger}" if self.action == Action.SHADOW else str(self.action)

    def mark(self) -> str:
        """What it is called on a time line."""
        plain = self.action == Action.RELEASE
        return f"release {self.number}" if plain else f"release {self.number}: {self.words()}"


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
    """The newest changes of what is released."""
    query = (
        select(releases, models.c.snapshot)
        .join(models, models.c.version == releases.c.champion)
        .order_by(releases.c.number.desc())
        .limit(most)
    )
    return [_past(row) for row in connection.execute(query)]


def _past(row: Row[Any]) -> PastRelease:
    return PastRelease(
        number=row.number,
        version=row.champion,
        who=row.who,
        why=row.why,
        released_at=row.released_at,
        snapshot=row.snapshot,
        verdict_id=row.verdict_id,
        action=row.action or Action.RELEASE,
        challenger=row.challenger,
        share=row.share or 0.0,
    )


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
