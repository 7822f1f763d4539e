"""Versions of the model, their required metadata, and verdicts on them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Row,
    Table,
    Text,
    func,
    select,
)

from core import journal
from core.database import Json, metadata, now, writing
from models.registry.model_card import json_value

if TYPE_CHECKING:
    from models.judging.verdict import Verdict

PROMOTE = "PROMOTE"  # of models.judging.verdict.Outcome, which the service does not import
AUTOMATIC = "hone"  # first word of the names under which flows release; it overrides no verdict

models = Table(
    "models",
    metadata,
    Column("version", Text, primary_key=True),  # tag in the BentoML model store: hone:<...>
    Column("weights_sha256", Text, nullable=False),  # of manifest.json, which has every file's
    Column("snapshot", Text, nullable=False),
    Column("code_commit", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("config", Json, nullable=False),  # the whole ModelCard
    Column("metrics", Json, nullable=False),
    Column("created_at", Text, nullable=False),
    info=journal.COVERED,
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("verdict_id", Text, primary_key=True),
    Column("challenger", Text, ForeignKey("models.version"), nullable=False),
    Column("champion", Text, ForeignKey("models.version")),
    Column("snapshot", Text, nullable=False),
    Column("rows_fingerprint", Text, nullable=False),  # of the audit rows both were scored on
    Column("outcome", Text, nullable=False),  # PROMOTE, HOLD, REJECT
    Column("reasons", Json, nullable=False),
    Column("metrics", Json, nullable=False),
    Column("decided_at", Text, nullable=False),
    info=journal.COVERED,
)

JUDGED = (
    "challenger", "champion", "snapshot", "rows_fingerprint", "outcome", "reasons", "metrics",
)  # fmt: skip


def find_model(engine: Engine, version: str) -> Row[Any]:
    """The row of one version; an unknown one is an error that lists the known ones."""
    with engine.connect() as connection:
        row = connection.execute(select(models).where(models.c.version == version)).first()
        if row is not None:
            return row
        known = connection.scalars(select(models.c.version).order_by(models.c.version)).all()
    raise ValueError(f"there is no model {version!r}; known: {', '.join(known) or 'none yet'}")


def snapshots_of_models(engine: Engine) -> set[str]:
    """The snapshots that models were trained on."""
    with engine.connect() as connection:
        return set(connection.scalars(select(models.c.snapshot)))


def known_versions(engine: Engine) -> set[str]:
    """Every version on record."""
    with engine.connect() as connection:
        return set(connection.scalars(select(models.c.version)))


def versions_by_age(engine: Engine) -> list[str]:
    """Every version on record, the newest first."""
    query = select(models.c.version).order_by(models.c.created_at.desc())
    with engine.connect() as connection:
        return list(connection.scalars(query))


def newest_versions(engine: Engine) -> dict[str, str]:
    """The newest version that was trained on each snapshot."""
    query = select(models.c.snapshot, models.c.version).order_by(models.c.created_at)
    with engine.connect() as connection:
        return dict(connection.execute(query).tuples().all())


def snapshot_of(connection: Connection, version: str) -> str | None:
    """The snapshot that a version was trained on; None of an unknown version."""
    return connection.scalar(select(models.c.snapshot).where(models.c.version == version))


def model_times(connection: Connection) -> dict[str, str]:
    """When a model was last trained on each snapshot."""
    query = select(models.c.snapshot, func.max(models.c.created_at)).group_by(models.c.snapshot)
    return dict(connection.execute(query).tuples().all())


def record_verdict(
    engine: Engine,
    *,
    challenger: str,
    champion: str | None,
    snapshot: str,
    rows_fingerprint: str,
    verdict: "Verdict",
) -> str:
    """Record a verdict permanently; return its id.

    Idempotent: the same judgement of the same rows has the same id and is recorded once.
    """
    row = judged_row(
        verdict,
        challenger=challenger,
        champion=champion,
        snapshot=snapshot,
        rows_fingerprint=rows_fingerprint,
    )
    with writing(engine) as connection:
        return insert_verdict(connection, row)


def judged_row(
    verdict: "Verdict",
    *,
    challenger: str,
    champion: str | None,
    snapshot: str,
    rows_fingerprint: str,
) -> dict[str, Any]:
    """What was judged and what came of it, as it is recorded: the columns of JUDGED."""
    return {
        "challenger": challenger,
        "champion": champion,
        "snapshot": snapshot,
        "rows_fingerprint": rows_fingerprint,
        "outcome": str(verdict.outcome),
        "reasons": list(verdict.reasons),
        "metrics": json_value(verdict.metrics),
    }


def insert_verdict(connection: Connection, row: Mapping[str, Any]) -> str:
    """Record a `judged_row` in the caller's transaction, once; return the verdict's id."""
    verdict_id = verdict_name(row)
    known = select(verdicts.c.verdict_id).where(verdicts.c.verdict_id == verdict_id)
    if connection.scalar(known) is None:
        made = {"verdict_id": verdict_id, **row, "decided_at": now()}
        journal.insert(connection, verdicts, [made])
    return verdict_id


def verdict_name(row: Mapping[str, Any], *, old: bool = False) -> str:
    """The id of a verdict: the same for the same judgement of the same rows.

    An `old` one was made by version 0.1, of the JSON that it stored as text.
    """
    judged = {name: row[name] for name in JUDGED}
    if old:
        judged["reasons"] = json.dumps(judged["reasons"])
        judged["metrics"] = json.dumps(judged["metrics"], sort_keys=True)
    digest = hashlib.sha256(json.dumps(judged, sort_keys=True, allow_nan=False).encode())
    return f"verdict-{digest.hexdigest()[:12]}"


def find_verdict(engine: Engine, verdict_id: str) -> Row[Any]:
    """The row of one verdict; an unknown one is an error that names it."""
    with engine.connect() as connection:
        known = select(verdicts).where(verdicts.c.verdict_id == verdict_id)
        row = connection.execute(known).first()
    if row is None:
        raise ValueError(f"there is no verdict {verdict_id!r}; `hone status` shows the newest")
    return row


def evidence_number(
    engine: Engine, *, challenger: str, champion: str | None, rows_fingerprint: str
) -> int:
    """The number of this test of a gain in the workspace's life: one more than promoted nothing.

    A test that promotes gives its number back (`alpha_spending`). The same judgement has the number
    it had, so that a repeated run spends nothing twice.
    """
    same = challenger, champion, rows_fingerprint
    promoted: dict[tuple[str | None, ...], bool] = {}
    columns = verdicts.c["challenger", "champion", "rows_fingerprint", "outcome", "metrics"]
    with engine.connect() as connection:
        for *judged, outcome, metrics in connection.execute(select(*columns)):
            number, test = int(metrics.get("number") or 0), tuple(judged)
            if test == same and number:
                return number
            if number:
                promoted[test] = promoted.get(test, True) and outcome == "PROMOTE"
    return 1 + sum(not every for every in promoted.values())


def verdict_on(
    engine: Engine,
    *,
    challenger: str,
    champion: str | None,
    rows_fingerprint: str,
    policy: Mapping[str, Any],
) -> str | None:
    """The newest verdict of the same two models, on the same rows, by the same policy; or None."""
    same = {"challenger": challenger, "champion": champion, "rows_fingerprint": rows_fingerprint}
    query = select(*verdicts.c["verdict_id", "metrics"]).order_by(verdicts.c.decided_at.desc())
    for name, value in same.items():
        query = query.where(verdicts.c[name].is_not_distinct_from(value))
    with engine.connect() as connection:
        for verdict_id, metrics in connection.execute(query):
            if metrics.get("policy") == json_value(policy):
                return str(verdict_id)
    return None


@dataclass(frozen=True)
class JudgedPair:
    """The newest verdict on a challenger against a champion, and the newest that promotes."""

    metrics: dict[str, Any] = field(default_factory=dict)
    promoted_by: str | None = None


def judged_pair(connection: Connection, champion: str, challenger: str) -> JudgedPair:
    """What verdicts there are on a challenger against a champion; empty without one."""
    query = (
        select(*verdicts.c["verdict_id", "outcome", "metrics"])
        .where(verdicts.c.champion == champion, verdicts.c.challenger == challenger)
        .order_by(verdicts.c.decided_at.desc())
    )
    rows = connection.execute(query).all()
    promoting = (row.verdict_id for row in rows if row.outcome == PROMOTE)
    return JudgedPair(rows[0].metrics if rows else {}, next(promoting, None))
