"""Labels are frozen as a snapshot, and a snapshot that can be trained on wakes the training."""

from functools import partial

from prefect import task

from core.database import writing
from core.locks import only_writer
from labeling.audit.membership import draw_standing_audit
from labeling.ledger import overview
from labeling.ledger.watermarks import save_watermark, watermark_of
from labeling.quality.student import TrainPolicy
from labeling.snapshots import publish
from labeling.snapshots.publish import SnapshotConfig, cut_snapshot
from models.registry.overview import registry_overview
from models.training.trainable import missing_for_training
from tasks.collect.pool_rows import choose_pool_rows
from tasks.collect.weak_truths import with_weak_truths
from tasks.context import Context, open_context
from tasks.events import EventName, emit, was_answered
from tasks.label.score_pool import features_at_hand
from tasks.retries import is_transient_error
from tasks.soft_rows import SoftChoice

ANNOUNCED = "announced-snapshot"
UNTRAINABLE = "untrainable-snapshot"


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=6 * 3600,
)
def freeze_labels(config: SnapshotConfig, train: TrainPolicy, every: int) -> str | None:
    """Cut a snapshot when `every` labels changed or no sample waits for an answer; return its name.

    By the `train` policy inferred labels of the pool go into it, where held-out labels show that
    they help.

    Idempotent: a half-made snapshot is completed or discarded, the same content is cut once.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
        changed = publish.count_changed_labels(connection)
        waiting = overview.count_open(connection)
    if changed == 0 or (changed < every and waiting):
        print(f"no snapshot yet: {changed} labels changed, {waiting} samples wait (every {every})")
        return None
    with writing(ctx.engine) as connection:
        draw_standing_audit(connection, ctx.policies.audit)
    chosen = _soft_rows(ctx, train, config)
    with only_writer(ctx.engine, "workspace-git") as token:
        name = cut_snapshot(
            ctx.engine, ctx.workspace, token, config, soft=chosen.rows, why=chosen.why
        )
    print(f"{name} is cut" if name else "the labels are those of the last snapshot")
    return name


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def announce_snapshot() -> str | None:
    """Raise `hone.labels-ready` for the newest snapshot; return its name.

    None when it was announced before and a run of `retrain` answered, when it cannot be trained
    on, or without a Prefect server.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
        newest = publish.newest_snapshot(connection)
        if newest is None or newest == watermark_of(connection, UNTRAINABLE):
            return None
        announced = newest == watermark_of(connection, ANNOUNCED)
        trained = newest in registry_overview(connection).trained_snapshots
        since = publish.snapshot_time(connection, newest)
    if announced and (trained or was_answered(ctx, "retrain", since)):
        return None
    missing = missing_for_training(publish.load_snapshot(ctx.engine, ctx.workspace, newest))
    if missing:
        print(f"{newest} starts no training: {missing}")
    elif not emit(ctx, EventName.LABELS_READY, {"snapshot": newest}):
        return None
    with writing(ctx.engine) as connection:
        save_watermark(connection, UNTRAINABLE if missing else ANNOUNCED, newest)
    return None if missing else newest


def _soft_rows(ctx: Context, train: TrainPolicy, config: SnapshotConfig) -> SoftChoice:
    from models.training.config import TrainConfig

    chosen = choose_pool_rows(ctx, train, config, partial(features_at_hand, ctx))
    with ctx.engine.connect() as connection:
        return with_weak_truths(
            connection, chosen, ctx.policies.watch, ctx.workspace.class_names,
            soft_weight=TrainConfig.soft_weight,
        )  # fmt: skip
