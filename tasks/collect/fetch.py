"""Answers come in, become labels, and the labels are frozen as a snapshot."""

import pandas as pd
from prefect import task
from prefect.events import emit_event
from sqlalchemy import func, or_, select

from core.database import writing
from core.locks import Token, only_writer
from labeling import simulation
from labeling.batches.quality_control import LOOKED_AGAIN
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels, unanswered
from labeling.ledger import rounds
from labeling.ledger.answers import (
    record_answers,
    refuse_lost_classes,
    save_watermark,
    watermark_of,
)
from labeling.ledger.tables import labels, snapshots
from labeling.quality.pseudo_labels import SoftPolicy
from labeling.snapshots.publish import SnapshotConfig, cut_snapshot
from labeling.studio import client
from labeling.studio.protocol import Collected
from models.registry.versions import champion
from tasks.collect.pseudo_labels import SoftChoice, choose_pseudo_labels, training_samples_of
from tasks.context import Context, open_context
from tasks.label.choose import studio_address
from tasks.label.score_pool import embedder
from tasks.label.stage_images import stage_images, unstage_images
from tasks.retries import is_transient_error

ANNOUNCED = "announced-snapshot"


@task(
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=3600,
)
def fetch_answers(annotators: str, settling: SettlePolicy) -> dict[str, int]:
    """Take over every answer given since the last time; return how many were new, gone, refused.

    Idempotent: the watermark moves with the answers, and a version known is not recorded again.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
        refuse_lost_classes(connection, ctx.workspace.class_names)
    with only_writer(ctx.engine, "answers") as token:
        if annotators == "simulated":
            counts = _simulate(ctx, token, settling)
        elif _nobody_is_asked(ctx):
            print("no Label Studio is set and nobody is asked anything: nothing to fetch")
            return {}
        else:
            counts = _fetch(ctx, token)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return counts


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def settle_answers(settling: SettlePolicy) -> dict[str, int]:
    """Settle labels from the answers in force; return what changed.

    Idempotent: labels that stand on the same answers stay as they are.
    """
    ctx = open_context()
    with only_writer(ctx.engine, "answers") as token:
        counts = settle_labels(ctx.engine, token, settling, ctx.workspace.class_names)
        counts["images taken off the desk"] = unstage_images(ctx)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return counts


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=6 * 3600,
)
def freeze_labels(config: SnapshotConfig, soft: SoftPolicy, every: int) -> str | None:
    """Cut a snapshot when `every` labels changed or no sample waits for an answer; return its name.

    By the `soft` policy guesses for the pool go into it, as long as the audit lets them.

    Idempotent: a half-made snapshot is completed or discarded, the same content is cut once.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
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
    guessed = _guesses(ctx, soft, config)
    with only_writer(ctx.engine, "workspace-git") as token:
        name = cut_snapshot(
            ctx.engine, ctx.workspace, token, config, soft=guessed.rows, why=guessed.why
        )
    print(f"{name} is cut" if name else "the labels are those of the last snapshot")
    return name


def _guesses(ctx: Context, soft: SoftPolicy, config: SnapshotConfig) -> SoftChoice:
    from models.training.train import TrainConfig

    model = champion(ctx.engine) if soft.enabled else None
    guessed = choose_pseudo_labels(
        ctx.engine,
        ctx.workspace.class_names,
        embedder(ctx, model),
        soft,
        config,
        weight=TrainConfig.soft_weight,
        learnt=training_samples_of(ctx, model),
    )
    if soft.enabled:
        print(guessed.why)
    return guessed


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def announce_snapshot() -> str | None:
    """Raise `hone.labels-ready` for the newest snapshot, once; return its name.

    The event only wakes `retrain`; one that is lost is made good by the weekly run.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
        newest = connection.scalar(select(func.max(snapshots.c.name)))
        if newest is None or newest == watermark_of(connection, ANNOUNCED):
            return None
    emit_event(
        event="hone.labels-ready",
        resource={"prefect.resource.id": "hone.workspace", "hone.title": ctx.workspace.title},
        payload={"snapshot": newest},
    )
    with writing(ctx.engine) as connection:
        save_watermark(connection, ANNOUNCED, newest)
    return newest


@task(
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=3600,
)
def ask_more_annotators(annotators: str) -> int:
    """Bring to Label Studio what one more person is wanted for, or a final word; how many moved.

    Idempotent: what stands there as it should is left alone.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
        asked = rounds.load_asked(connection)
    if annotators == "simulated" or asked.empty or ctx.settings.label_studio_url is None:
        return 0
    with only_writer(ctx.engine, "rounds"):
        # Its round may have been closed, and its image cleared away.
        stage_images(ctx, asked[asked["is_open"]])
        with client.connect(**studio_address(ctx)) as studio:
            studio.project(ctx.workspace, desk=ctx.object_desk)
            moved = studio.ask_more(asked)
    print(f"{moved} of {len(asked)} asked of more people or handed to whoever decides")
    return moved


def _nobody_is_asked(ctx: Context) -> bool:
    """A workspace of imported labels only needs no Label Studio to cut its snapshots."""
    with ctx.engine.connect() as connection:
        return ctx.settings.label_studio_url is None and rounds.count_open(connection) == 0


def _fetch(ctx: Context, token: Token) -> dict[str, int]:
    """Take over what changed since the last time, and what deleted tasks leave behind."""
    with client.connect(**studio_address(ctx)) as studio:
        studio.project(ctx.workspace, desk=ctx.object_desk)
        with ctx.engine.connect() as connection:
            since = watermark_of(connection, studio.source)
        counts = _record(ctx, token, studio.source, studio.answers_since(since))
        if gone := _deleted(ctx, studio):
            rounds.record_deleted(ctx.engine, token, gone)
            left = studio.answers_to(sorted({sample_id for sample_id, _ in gone}))
            more = _record(ctx, token, studio.source, left)
            counts = {what: count + more[what] for what, count in counts.items()}
        with writing(ctx.engine) as connection:
            save_watermark(connection, f"{studio.source}:tasks", str(studio.size()))
    return {**counts, "deleted in Label Studio": len(gone)}


def _record(ctx: Context, token: Token, source: str, found: Collected) -> dict[str, int]:
    return record_answers(
        ctx.engine,
        token,
        found.answers,
        source=source,
        read=found.read,
        refused=found.refused,
        classes=ctx.workspace.class_names,
        watermark=found.watermark,
    )


def _deleted(ctx: Context, studio: client.Studio) -> set[tuple[str, str]]:
    """Assignments whose task is gone; those that ended are looked for when tasks got fewer."""
    with ctx.engine.connect() as connection:
        before = int(watermark_of(connection, f"{studio.source}:tasks") or 0)
        sent = rounds.load_sent(connection, open_only=studio.size() >= before)
    return studio.deleted(sent)


def _simulate(ctx: Context, token: Token, settling: SettlePolicy) -> dict[str, int]:
    """Let the simulated annotators answer what is open; they look again where they disagree."""
    total = {"withdrawn": 0, "new": 0, "refused": 0}
    classes = ctx.workspace.class_names
    for attempt in range(simulation.ATTEMPTS):
        with ctx.engine.connect() as connection:
            sent = rounds.open_assignments(connection).dropna(subset="sent_at")
            fresh, disputed = unanswered(connection, sent, settling, classes)
        asked = disputed if attempt else fresh
        if asked.empty and attempt:
            break
        again = asked["reason"].isin(LOOKED_AGAIN).rename("again")
        for (round_id, is_again), part in asked.groupby(["round_id", again]):
            # A second look at a label is a look of its own, not the old mistake again.
            look = attempt + simulation.ATTEMPTS * rounds.round_number(str(round_id)) * bool(
                is_again
            )
            counts = _answer_round(ctx, token, str(round_id), part, look)
            total = {what: total[what] + count for what, count in counts.items()}
    return total


def _answer_round(
    ctx: Context, token: Token, round_id: str, asked: pd.DataFrame, look: int
) -> dict[str, int]:
    truths, people, seed = simulation.load_simulation(ctx.workspace.root)
    given = simulation.simulate_answers(
        truths[truths.index.isin(asked["sample_id"])],
        ctx.workspace.class_names,
        people,
        seed=seed,
        attempt=look,
        round_id=round_id,
    )
    return record_answers(
        ctx.engine,
        token,
        given,
        source=simulation.SOURCE,
        read=set(),  # nobody deletes anything there
        classes=ctx.workspace.class_names,
    )
