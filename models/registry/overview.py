"""What is in service and what was judged last, for people to read."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from models.registry.releases import Mode, releases, tenure_of
from models.registry.versions import models, verdicts


@dataclass(frozen=True)
class Accuracy:
    """A share of right outputs with the bounds of its interval, on so many audit samples."""

    value: float
    low: float
    high: float
    rows: int
    population: str = "pool"  # that the samples stand for
    used_by_gate: bool = False  # verdicts were decided on them: the model may be less good

    def __str__(self) -> str:
        where = f"{self.rows:,} audit images of the {self.population}"
        gate = ", which verdicts use" if self.used_by_gate else ""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] on {where}{gate}"


@dataclass(frozen=True)
class Champion:
    """The version in service, since when, by whom, and how good it was when it was judged."""

    version: str
    released_at: str
    who: str
    accuracy: Accuracy | None  # None when it was never measured
    traffic_accuracy: Accuracy | None = None  # of the images that were served


@dataclass(frozen=True)
class LastVerdict:
    """The newest verdict."""

    challenger: str
    outcome: str
    reasons: list[str]
    decided_at: str


@dataclass(frozen=True)
class RegistryOverview:
    """The champion, the newest verdict, and whether a snapshot waits to be trained on."""

    champion: Champion | None
    last_verdict: LastVerdict | None
    trained_snapshots: frozenset[str]


def registry_overview(connection: Connection) -> RegistryOverview:
    """How the registry stands."""
    return RegistryOverview(
        champion=_champion(connection),
        last_verdict=_last_verdict(connection),
        trained_snapshots=frozenset(connection.scalars(select(models.c.snapshot))),
    )


def newest_verdict(connection: Connection) -> Row[Any] | None:
    """The record of the verdict that was decided last; None before the first."""
    newest = select(verdicts).order_by(verdicts.c.decided_at.desc()).limit(1)
    return connection.execute(newest).first()


def _champion(connection: Connection) -> Champion | None:
    row = tenure_of(connection)
    if row is None:
        return None
    measured = select(verdicts).where(verdicts.c.challenger == row.champion)
    judged = connection.execute(measured.order_by(verdicts.c.decided_at.desc())).all()
    own, traffic = (
        next((one for verdict in judged if (one := accuracy(verdict)) is not None), None)
        for accuracy in (pool_accuracy, traffic_accuracy)
    )
    return Champion(row.champion, row.released_at, row.who, own, traffic)


def traffic_accuracy(verdict: Row[Any]) -> Accuracy | None:
    """On the images that were served, of the reporting part of the audit."""
    reported = verdict.metrics.get("reported", {}).get("traffic")
    return None if reported is None else Accuracy(**reported, population="traffic")


def pool_accuracy(verdict: Row[Any]) -> Accuracy | None:
    """On the reporting part of the audit; of an older verdict, or without such rows, the gate's."""
    reported = verdict.metrics.get("reported", {}).get("pool")
    if reported is not None:
        return Accuracy(**reported)
    names = ("challenger_accuracy", "challenger_accuracy_low", "challenger_accuracy_high", "rows")
    value, low, high, rows = (verdict.metrics.get(name) for name in names)
    if value is None or low is None or high is None or rows is None:
        return None
    return Accuracy(float(value), float(low), float(high), int(rows), used_by_gate=True)


def _last_verdict(connection: Connection) -> LastVerdict | None:
    row = newest_verdict(connection)
    if row is None:
        return None
    return LastVerdict(row.challenger, row.outcome, row.reasons, row.decided_at)


@dataclass(frozen=True)
class ModelOrigin:
    """What made a model version."""

    version: str
    weights_sha256: str
    code_commit: str
    seed: int
    created_at: str
    teacher: str | None = None  # the version whose outputs it learnt from, beside labels
    pool: str | None = None  # what of the unlabelled pool it learnt from, and why


@dataclass(frozen=True)
class ReleaseOrigin:
    """The first release of a version, or its canary, and the verdict that it rests on."""

    number: int
    who: str
    why: str
    released_at: str
    outcome: str | None  # of the verdict; None where a person released without one
    champion: str | None  # that it was compared with
    snapshot: str | None
    action: str = "release"  # or "canary", or "cascade" of a front model


def model_origin(connection: Connection, version: str) -> tuple[ModelOrigin, str]:
    """What made a version, and the snapshot that it was trained on."""
    row = connection.execute(select(models).where(models.c.version == version)).one()
    origin = ModelOrigin(
        version=row.version,
        weights_sha256=row.weights_sha256,
        code_commit=row.code_commit,
        seed=row.seed,
        created_at=row.created_at,
        teacher=row.config.get("teacher"),
        pool=row.config.get("pool"),
    )
    return origin, row.snapshot


def release_origin(connection: Connection, version: str) -> ReleaseOrigin | None:
    """How a version came to answer clients first; None for one that never did."""
    in_canary = (releases.c.challenger == version) & (releases.c.mode == Mode.CANARY.value)
    answers = (releases.c.champion == version) | in_canary | (releases.c.front == version)
    own = (verdicts.c.verdict_id == releases.c.verdict_id) & (verdicts.c.challenger == version)
    query = (
        select(
            *releases.c["number", "who", "why", "released_at"],
            *verdicts.c["outcome", "champion", "snapshot"],
            func.coalesce(releases.c.action, "release"),
        )
        .join(verdicts, own, isouter=True)
        .where(answers)
        .order_by(releases.c.number)
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else ReleaseOrigin(*row)
