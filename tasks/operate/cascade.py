"""A cascade: what a front model would save and lose, and how a person sets or ends it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from sqlalchemy import Connection

from labeling.audit.numbers import Part
from labeling.audit.rows import audit_rows, rows_unseen_by
from labeling.ledger.reasons import LEARNT_FROM
from labeling.snapshots.publish import load_snapshot
from models.kinds import DEFAULT
from models.registry import versions
from models.registry.challengers import set_front
from models.registry.releases import Release, current_release
from tasks.context import Context, open_context
from tasks.operate.release import refuse_damaged
from tasks.predictions import predict_with
from tasks.retrain.evidence import speeds

if TYPE_CHECKING:
    from models.judging.cascade_plan import CascadePlan
    from models.registry.model_store import LoadedModel

MOST_FRONTS = 2  # side by side; of more the chance grows that one only looks good


def plan_cascades(fronts: Sequence[str], *, loss: float) -> "list[CascadePlan]":
    """A plan for each front model (by default the newest that fits) before the champion.

    By the gate's part of the audit: the part that reports is never looked at.
    """
    from models.judging.cascade_plan import ALPHA, refuse_loss

    refuse_loss(loss)
    ctx = open_context()
    champion = _in_service(ctx).champion
    if len(fronts) > MOST_FRONTS:
        raise ValueError(f"{len(fronts)} front models are given; {MOST_FRONTS} go side by side")
    chosen = list(dict.fromkeys(fronts)) or [_newest_front(ctx, champion)]
    for front in chosen:
        refuse_unfit(ctx, front, champion)
    return [_plan(ctx, one, champion, loss=loss, alpha=ALPHA / len(chosen)) for one in chosen]


def set_cascade(front: str, threshold: float, *, who: str, why: str) -> int:
    """Put a front model before the champion; return the number of the release."""
    ctx = open_context()
    current = _in_service(ctx)
    refuse_unfit(ctx, front, current.champion)
    refuse_damaged(ctx, front)
    return set_front(
        ctx.engine, front=front, threshold=threshold, who=who, why=why, expected=current.number
    )


def end_cascade(*, who: str, why: str) -> int:
    """Let the champion answer alone; return the number of the release."""
    ctx = open_context()
    current = _in_service(ctx)
    if current.front is None:
        raise ValueError("there is no cascade: the champion answers alone already")
    return set_front(
        ctx.engine, front=None, threshold=None, who=who, why=why, expected=current.number
    )


def refuse_unfit(ctx: Context, front: str, champion: str) -> None:
    """An error where the front model cannot answer in the place of the champion."""
    if front == champion:
        raise ValueError(f"{front} is the champion itself: a front model is another, smaller one")
    small, large = (
        {"kind": DEFAULT} | versions.find_model(ctx.engine, one).config  # 0.1.0 wrote no kind
        for one in (front, champion)
    )
    for name in ("kind", "classes", "image_size"):
        if small.get(name) != large.get(name):
            raise ValueError(
                f"{front} has {name} {small.get(name)}, and the champion {champion} has "
                f"{large.get(name)}: a front model must have the same; `hone distill` trains one"
            )


def _in_service(ctx: Context) -> Release:
    current = current_release(ctx.engine)
    if current is None:
        raise ValueError("no model is in service: `hone retrain` makes and releases one")
    return current


def _newest_front(ctx: Context, champion: str) -> str:
    """The newest model of another backbone than the champion's that fits before it."""
    backbone = _backbone(ctx, champion)
    for version in versions.versions_by_age(ctx.engine):
        if version == champion or _backbone(ctx, version) == backbone:
            continue
        try:
            refuse_unfit(ctx, version, champion)
        except ValueError:
            continue
        return version
    raise ValueError(
        f"no model has another backbone than the champion's ({backbone}): `hone distill` trains a "
        "small one, or name one with --front"
    )


def _backbone(ctx: Context, version: str) -> str:
    return str(versions.find_model(ctx.engine, version).config["network"].get("backbone"))


def _plan(ctx: Context, front: str, champion: str, *, loss: float, alpha: float) -> "CascadePlan":
    from models.judging.cascade_plan import Costs, Outputs, plan_cascade
    from tasks.retrain.runtime import choose_runtime

    for version in (front, champion):  # what is compared is what will be served
        choose_runtime(ctx, version)

    with ctx.engine.connect() as connection:
        rows = _gate_rows(ctx, connection, (front, champion))
    (small, of_front), (large, of_champion) = (
        predict_with(ctx, one, rows) for one in (front, champion)
    )
    taken, card = served_ms(ctx, small, large), large.card
    outputs = Outputs(
        of_front.outputs, of_champion.outputs, rows["label"].tolist(), card.classes, card.label_kind
    )
    costs = Costs(taken[front], taken[champion])
    return plan_cascade((front, champion), outputs, costs, loss=loss, alpha=alpha)


def served_ms(ctx: Context, *models: "LoadedModel") -> dict[str, float]:
    """Milliseconds of an image by each model, in the runtime that serves it on this machine."""
    taken = speeds(ctx, {model.version: model for model in models})
    return {version: speed.p50_ms for version, speed in taken.items()}


def _gate_rows(ctx: Context, connection: Connection, models: Sequence[str]) -> pd.DataFrame:
    """The gate's labelled audit rows that resemble nothing that one of the models learnt from."""
    rows = audit_rows(connection, part=Part.GATE)
    for version in models:
        snapshot = versions.find_model(ctx.engine, version).snapshot
        table = load_snapshot(ctx.engine, ctx.workspace, snapshot)
        learnt = table.loc[table["split"].isin(LEARNT_FROM), "sample_id"].tolist()
        rows = rows_unseen_by(connection, rows, learnt)
    classes = versions.find_model(ctx.engine, models[-1]).config["classes"]
    return rows[rows["label"].isin(classes)].reset_index(drop=True)
