"""Answers come in, become labels, and the labels are frozen as a snapshot."""

import json

import pandas as pd
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event
from sqlalchemy import func, or_, select

from ground.database import writing
from ground.journal import Token, only_writer
from labeling import label_studio, oracle, quality, rounds
from labeling.answers import (
    answers_in_force,
    record_answers,
    save_watermark,
    settle_labels,
    unsettled_samples,
    watermark_of,
)
from labeling.consensus import SettlePolicy
from labeling.ledger import labels, snapshots
from labeling.snapshot import SnapshotConfig, cut_snapshot
from tasks.choosing import studio_address
from tasks.desk import clear_desk
from tasks.house import House, house
from tasks.retrying import may_pass

ANNOUNCED = "announced-snapshot"


@task(retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_pass, timeout_seconds=3600)
def fetch_answers(annotators: str, settling: SettlePolicy) -> dict[str, int]:
    """Take over every answer given since the last time; return how many were new, gone, refused.

    Idempotent: the watermark moves with the answers, and a version known is not recorded again.
    """
    place = house()
    with only_writer(place.engine, "answers") as token:
        if annotators == "simulated":
            counts = _simulate(place, token, settling)
        else:
            counts = _fetch(place, token)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return counts


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=may_pass)
def settle_answers(settling: SettlePolicy) -> dict[str, int]:
    """Settle labels from the answers in force; return what changed.

    Idempotent: labels that stand on the same answers stay as they are.
    """
    place = house()
    with only_writer(place.engine, "answers") as token:
        counts = settle_labels(place.engine, token, settling)
        counts["images taken off the desk"] = clear_desk(place)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return counts


@task(retries=2, retry_delay_seconds=[5, 30], retry_condition_fn=may_pass, timeout_seconds=6 * 3600)
def freeze_labels(config: SnapshotConfig, every: int) -> str | None:
    """Cut a snapshot when `every` labels changed or no sample waits for an answer; return its name.

    Idempotent: a half-made snapshot is completed or discarded, the same content is cut once.
    """
    place = house()
    with place.engine.connect() as connection:
        since = connection.scalar(select(func.max(snapshots.c.created_at))) or ""
        changed = (
            connection.scalar(
                select(func.count())
                .select_from(labels)
                .where(or_(labels.c.settled_at > since, labels.c.replaced_at > since))
            )
            or 0
        )
        waiting = rounds.count_open(connection)
    if changed == 0 or (changed < every and waiting):
        print(f"no snapshot yet: {changed} labels changed, {waiting} samples wait (every {every})")
        return None
    with only_writer(place.engine, "workspace-git") as token:
        name = cut_snapshot(place.engine, place.workspace, token, config)
    print(f"{name} is cut" if name else "the labels are those of the last snapshot")
    return name


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=may_pass)
def announce_snapshot() -> str | None:
    """Raise `hone.labels-ready` for the newest snapshot, once; return its name.

    The event only wakes `retrain`; one that is lost is made good by the weekly run.
    """
    place = house()
    with place.engine.connect() as connection:
        newest = connection.scalar(select(func.max(snapshots.c.name)))
        if newest is None or newest == watermark_of(connection, ANNOUNCED):
            return None
    emit_event(
        event="hone.labels-ready",
        resource={"prefect.resource.id": "hone.workspace", "hone.title": place.workspace.title},
        payload={"snapshot": newest},
    )
    with writing(place.engine) as connection:
        save_watermark(connection, ANNOUNCED, newest)
    return newest


@task
def publish_quality() -> None:
    """Show how far the annotators agree, as a table in Prefect."""
    with house().engine.connect() as connection:
        given = answers_in_force(connection)
        settled = dict(
            connection.execute(
                select(labels.c.sample_id, labels.c.label).where(labels.c.replaced_at.is_(None))
            )
            .tuples()
            .all()
        )
    if len(given):
        table = quality.annotator_quality(given, pd.Series(settled, dtype=object))
        create_table_artifact(
            key="annotators",
            description="Annotators: answers, agreement with each other",
            table=json.loads(table.to_json(orient="records")),
        )


def _fetch(place: House, token: Token) -> dict[str, int]:
    with label_studio.connect(**studio_address(place)) as studio:
        studio.project(place.workspace)
        with place.engine.connect() as connection:
            since = watermark_of(connection, studio.source)
        found = studio.answers_since(since)
    return record_answers(
        place.engine,
        token,
        found.answers,
        source=studio.source,
        read=found.read,
        refused=found.refused,
        classes=place.workspace.class_names,
        watermark=found.watermark,
    )


def _simulate(place: House, token: Token, settling: SettlePolicy) -> dict[str, int]:
    """Let the simulated annotators answer what is open; they look again where they disagree."""
    truths, people, seed = oracle.load(place.workspace.root)
    classes = place.workspace.class_names
    total = {"withdrawn": 0, "new": 0, "refused": 0}
    for attempt in range(oracle.LOOKS):
        with place.engine.connect() as connection:
            sent = rounds.open_assignments(connection).dropna(subset="sent_at")
            waiting = sent["sample_id"].tolist()
            fresh, disputed = unsettled_samples(connection, waiting, settling)
        asked = truths[truths.index.isin(disputed if attempt else fresh)]
        if asked.empty and attempt:
            break
        given = oracle.answer(asked, classes, people, seed=seed, attempt=attempt)
        counts = record_answers(
            place.engine, token, given, source="oracle", read=set(asked.index), classes=classes
        )
        total = {what: total[what] + count for what, count in counts.items()}
    return total
