"""What the ledger knows, for people: how a workspace stands, and where a prediction came from."""

from typing import Any

from sqlalchemy import Engine, distinct, func, select

from core.database import now
from labeling.ledger import rounds
from labeling.ledger.tables import (
    answers,
    assignments,
    audit,
    label_answers,
    labels,
    refusals,
    refused_answers,
    samples,
    snapshots,
    sources,
)
from models.registry.versions import models, releases, verdicts
from models.serving.prediction_store import predictions
from models.watching.decisions import decisions


def status(engine: Engine) -> dict[str, Any]:
    """Counts and names that say how the loop stands."""
    in_force = labels.c.replaced_at.is_(None)
    with engine.connect() as connection:

        def count(table: Any, *where: Any) -> int:
            return connection.scalar(select(func.count()).select_from(table).where(*where)) or 0

        refused = (
            connection.execute(select(refusals.c.reason, func.count()).group_by(refusals.c.reason))
            .tuples()
            .all()
        )
        decision = (
            connection.execute(select(decisions).order_by(decisions.c.decided_at.desc()).limit(1))
            .mappings()
            .first()
        )
        skipped = connection.scalar(
            select(func.count(distinct(assignments.c.sample_id))).where(
                assignments.c.outcome == "skipped",
                assignments.c.sample_id.not_in(select(labels.c.sample_id).where(in_force)),
            )
        )
        return {
            "samples": count(samples),
            "served_samples": count(samples, samples.c.origin == "served"),
            "refused": dict(refused),
            "pool": connection.scalar(
                select(func.count()).select_from(rounds.pool_ids().subquery())
            ),
            "assigned": rounds.count_open(connection),
            "skipped": skipped,
            "labels": count(labels, in_force),
            "audit": count(audit),
            "refused_answers": count(refused_answers),
            "snapshots": connection.scalars(
                select(snapshots.c.name).order_by(snapshots.c.number)
            ).all(),
            "champion": connection.scalar(
                select(releases.c.champion).order_by(releases.c.number.desc()).limit(1)
            ),
            "last_verdict": _newest_verdict(connection),
            "predictions": count(predictions),
            "last_decision": dict(decision) if decision else None,
            "at": now(),
        }


def _newest_verdict(connection: Any) -> dict[str, Any] | None:
    query = select(verdicts.c.challenger, verdicts.c.outcome, verdicts.c.reasons)
    row = connection.execute(query.order_by(verdicts.c.decided_at.desc()).limit(1)).first()
    return None if row is None else dict(row._mapping)


def trace(engine: Engine, prediction_id: str) -> dict[str, Any]:
    """The way back of one served prediction: image, model, snapshot, label and annotators.

    The label and annotators are those of the served image itself; while nobody has labelled it,
    `truth` is None.
    """
    with engine.connect() as connection:
        row = (
            connection.execute(
                select(predictions).where(predictions.c.prediction_id == prediction_id)
            )
            .mappings()
            .first()
        )
        if row is None:
            raise ValueError(
                f"no prediction {prediction_id!r} in the store; `hone watch` takes over what the "
                "service recorded, and an answer of the service names its prediction_id"
            )
        model = (
            connection.execute(select(models).where(models.c.version == row["model"]))
            .mappings()
            .one()
        )
        return {
            "prediction": {
                key: row[key]
                for key in (
                    "prediction_id",
                    "request_id",
                    "label",
                    "confidence",
                    "needs_review",
                    "served_at",
                )
            },
            "image": _image(connection, row),
            "model": {
                key: model[key]
                for key in ("version", "weights_sha256", "code_commit", "seed", "created_at")
            },
            "verdict": _verdict(connection, model["version"]),
            "snapshot": _row(connection, snapshots, snapshots.c.name == model["snapshot"]),
            "truth": _truth(connection, row["sample_id"]),
        }


def _image(connection: Any, row: Any) -> dict[str, Any]:
    found = {key: row[key] for key in ("sample_id", "segment", "offset", "length")}
    sample = _row(connection, samples, samples.c.sample_id == row["sample_id"])
    if sample is not None:
        paths = connection.scalars(
            select(sources.c.path).where(sources.c.sample_id == row["sample_id"])
        ).all()
        keys = ("shard", "stored_sha256", "group_id", "origin", "added_at")
        found["sample"] = {**{key: sample[key] for key in keys}, "sources": list(paths)}
    return found


def _verdict(connection: Any, version: str) -> dict[str, Any] | None:
    query = (
        select(
            releases.c.number,
            releases.c.who,
            releases.c.why,
            releases.c.released_at,
            verdicts.c.outcome,
            verdicts.c.champion,
            verdicts.c.snapshot,
        )
        .join(verdicts, verdicts.c.verdict_id == releases.c.verdict_id, isouter=True)
        .where(releases.c.champion == version)
        .order_by(releases.c.number)
    )
    row = connection.execute(query).mappings().first()
    return dict(row) if row else None


def _truth(connection: Any, sample_id: str) -> dict[str, Any] | None:
    """The label that the served image later got, and every answer it rests on."""
    label = (
        connection.execute(
            select(labels).where(labels.c.sample_id == sample_id, labels.c.replaced_at.is_(None))
        )
        .mappings()
        .first()
    )
    if label is None:
        return None
    rests_on = (
        connection.execute(
            select(*answers.c["seq", "source", "annotator", "value", "updated_at"])
            .join(label_answers, label_answers.c.answer_seq == answers.c.seq)
            .where(label_answers.c.label_seq == label["seq"])
            .order_by(answers.c.seq)
        )
        .mappings()
        .all()
    )
    keys = ("label", "trust", "round_id", "annotators", "method", "settled_at")
    return {**{key: label[key] for key in keys}, "answers": [dict(row) for row in rests_on]}


def _row(connection: Any, table: Any, where: Any) -> dict[str, Any] | None:
    row = connection.execute(select(table).where(where)).mappings().first()
    return None if row is None else {k: v for k, v in row.items() if not isinstance(v, bytes)}
