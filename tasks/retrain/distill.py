"""The champion's outputs for the unlabelled pool, frozen as a snapshot for a student."""

import hashlib

import pandas as pd
from prefect import task
from sqlalchemy import Connection

from core.database import writing
from core.locks import only_writer
from labeling.audit.membership import draw_standing_audit
from labeling.snapshots import publish
from labeling.snapshots.table import SnapshotConfig
from models.registry.releases import champion
from tasks.context import Context, open_context
from tasks.label.score_pool import pool_outputs
from tasks.retries import is_lock_busy, is_transient_error
from tasks.soft_rows import free_pool, may_be_learnt, soft_rows


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=lambda *given: is_transient_error(*given) or is_lock_busy(*given),
    timeout_seconds=6 * 3600,
)
def freeze_soft_targets(config: SnapshotConfig, most: int) -> str:
    """Cut a snapshot of the labels and of the champion's outputs for up to `most` samples.

    They are of the half of the pool that may be learnt from; the other one is for duels.

    Audit, gold and duel samples are not among them, nor what resembles one. Idempotent: the same
    labels, pool and champion are frozen once.
    """
    ctx = open_context()
    teacher = champion(ctx.engine)
    if teacher is None:
        raise ValueError("no model is in service that could teach: `hone retrain` makes one first")
    with writing(ctx.engine) as connection:
        draw_standing_audit(connection, ctx.policies.audit)
    with ctx.engine.connect() as connection:
        pool = _free_pool(connection, most)
    soft = _soft_rows(ctx, teacher, pool)
    why = f"{len(soft)} samples of the pool with the outputs of {teacher}"
    with only_writer(ctx.engine, "workspace-git") as token:
        name = publish.cut_snapshot(
            ctx.engine, ctx.workspace, token, config, soft=soft, why=why, teacher=teacher
        )
    with ctx.engine.connect() as connection:
        known = publish.teachers(connection)
    taught = sorted(one for one, its_teacher in known.items() if its_teacher == teacher)
    chosen = name if name in known else taught[-1]
    print(f"{chosen}: {why}")
    return chosen


def _free_pool(connection: Connection, most: int) -> pd.DataFrame:
    """Samples of the pool, drawn by their names, without what resembles one of an open duel."""
    pool = free_pool(connection)
    pool = pool[[may_be_learnt(one) for one in pool["sample_id"]]]
    if pool.empty:
        raise ValueError(publish.NOTHING_TO_LEARN)
    lots = [hashlib.sha256(f"distill:{one}".encode()).hexdigest() for one in pool["sample_id"]]
    drawn_first = pool.assign(lot=lots).sort_values("lot").head(most)
    return drawn_first.drop(columns="lot").sort_values("sample_id", ignore_index=True)


def _soft_rows(ctx: Context, teacher: str, pool: pd.DataFrame) -> pd.DataFrame:
    """The teacher's calibrated probabilities of each sample; its doubt is in them, trust is 1."""
    card, outputs = pool_outputs(ctx, teacher, pool)
    return soft_rows(
        pool["sample_id"].tolist(), outputs, card.classes, card.label_kind, source=teacher
    )
