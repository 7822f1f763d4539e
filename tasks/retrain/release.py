"""Challenger to verdict, verdict to release."""

import hashlib
import json
from typing import TYPE_CHECKING

import pandas as pd
from prefect import task
from sqlalchemy import select

from labeling.snapshots import publish as frozen
from models.judging.verdict import GatePolicy, Outcome
from models.registry import versions
from tasks.context import Context, open_context
from tasks.report.artifacts import publish_verdict, verdict_text
from tasks.retries import is_transient_error

if TYPE_CHECKING:
    import numpy as np

    from models.registry.model_store import LoadedModel


@task(timeout_seconds=6 * 3600)
def judge(challenger: str, snapshot: str, policy: GatePolicy) -> str:
    """Score challenger and champion on the same audit rows; return the verdict's id.

    Idempotent: the same judgement is kept once, and a model that was in service is not judged
    anew when an old run is repeated.
    """
    ctx = open_context()
    past = _past_release(ctx, challenger)
    if past is not None:
        print(f"{challenger} was released already ({past}); a person may do so again")
        return past
    return _judge(ctx, challenger, snapshot, policy)


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def release_winner(verdict_id: str) -> str | None:
    """Put a promoted challenger into service; return its version, None when it was not promoted.

    Idempotent: the release pointer moves once for a verdict, and only from the champion that the
    challenger was compared with.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
        verdict = connection.execute(
            select(versions.verdicts).where(versions.verdicts.c.verdict_id == verdict_id)
        ).one()
    if verdict.outcome != Outcome.PROMOTE:
        print(f"{verdict.challenger} is not released: {verdict.outcome}")
        return None
    current = versions.current_release(ctx.engine)
    if _past_release(ctx, verdict.challenger) is not None:
        in_service = current is not None and current.champion == verdict.challenger
        return str(verdict.challenger) if in_service else None
    versions.release(
        ctx.engine,
        version=verdict.challenger,
        verdict_id=verdict_id,
        who=versions.AUTOMATIC,
        why="; ".join(json.loads(verdict.reasons)),
        expected=current.number if current else 0,
    )
    print(f"{verdict.challenger} is in service")
    return str(verdict.challenger)


@task(retries=1, retry_delay_seconds=5, retry_condition_fn=is_transient_error, timeout_seconds=1800)
def package_release(version: str) -> str:
    """Build the bento of a release; return its tag. Idempotent: built once for a version."""
    from models.registry.bento import package

    ctx = open_context()
    tag = package(ctx.workspace, version)
    print(f"packaged as {tag}")
    return tag


def release_by_hand(version: str, *, who: str, why: str) -> str:
    """Put a version into service by a person's word and package it; return the bento's tag."""
    from models.registry.bento import package

    ctx = open_context()
    current = versions.current_release(ctx.engine)
    versions.release(
        ctx.engine,
        version=version,
        verdict_id=None,
        who=who,
        why=why,
        override=True,
        expected=current.number if current else 0,
    )
    return package(ctx.workspace, version)


def _past_release(ctx: Context, version: str) -> str | None:
    """The verdict that put `version` into service at some time."""
    with ctx.engine.connect() as connection:
        return connection.scalar(
            select(versions.releases.c.verdict_id).where(versions.releases.c.champion == version)
        )


def _judge(ctx: Context, challenger: str, snapshot: str, policy: GatePolicy) -> str:
    from models.judging.compare import compare
    from models.registry.model_store import load_model

    table = frozen.load_snapshot(ctx.engine, ctx.workspace, snapshot)
    rows = table[table["split"] == "test"].sort_values("sample_id").reset_index(drop=True)

    def scored(version: str) -> "tuple[LoadedModel, np.ndarray]":
        from models.scoring.predict import predict_table

        loaded = load_model(ctx.engine, ctx.workspace.bento_home, version)
        return loaded, predict_table(
            loaded.network,
            rows,
            ctx.workspace.shards,
            loaded.card.image_size,
            threads=ctx.settings.threads,
        ).probs

    champion = versions.champion(ctx.engine)
    new, new_probs = scored(challenger)
    old_probs = scored(champion)[1] if champion else None
    verdict = compare(
        rows["label"].tolist(),
        new_probs,
        old_probs,
        list(new.card.classes),
        policy,
        slices=rows["origin"].tolist(),
        inclusion_probability=rows["inclusion_probability"].to_numpy(dtype=float),
    )
    verdict_id = versions.record_verdict(
        ctx.engine,
        challenger=challenger,
        champion=champion,
        snapshot=snapshot,
        rows_fingerprint=_fingerprint(rows),
        verdict=verdict,
    )
    text = verdict_text(verdict, challenger=challenger, champion=champion, snapshot=snapshot)
    publish_verdict(text, challenger=challenger)
    print(f"{verdict.outcome}: {'; '.join(verdict.reasons)}")
    return verdict_id


def _fingerprint(rows: pd.DataFrame) -> str:
    words = rows[["sample_id", "label", "stored_sha256"]].to_csv(index=False)
    return hashlib.sha256(words.encode()).hexdigest()
