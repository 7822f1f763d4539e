"""Challenger to verdict: both models on the same audit rows."""

import hashlib

import pandas as pd
from prefect import task

from labeling.snapshots import publish as frozen
from models.judging.verdict import GatePolicy
from models.registry import versions
from tasks.context import Context, open_context
from tasks.predictions import predict_with
from tasks.report.artifacts import publish_verdict, verdict_text


@task(timeout_seconds=6 * 3600)
def judge(challenger: str, snapshot: str, policy: GatePolicy) -> str:
    """Score challenger and champion on the same audit rows; return the verdict's id.

    Idempotent: the same judgement is kept once, and a model that was in service is not judged
    anew when an old run is repeated.
    """
    ctx = open_context()
    past = versions.releasing_verdict(ctx.engine, challenger)
    if past is not None:
        print(f"{challenger} was released already ({past}); a person may do so again")
        return past
    return _judge(ctx, challenger, snapshot, policy)


def _judge(ctx: Context, challenger: str, snapshot: str, policy: GatePolicy) -> str:
    from models.judging.compare import compare

    table = frozen.load_snapshot(ctx.engine, ctx.workspace, snapshot)
    rows = table[table["split"] == "test"].sort_values("sample_id").reset_index(drop=True)

    champion = versions.champion(ctx.engine)
    new, predictions = predict_with(ctx, challenger, rows)
    champion_outputs = predict_with(ctx, champion, rows)[1].outputs if champion else None
    verdict = compare(
        rows["label"].tolist(),
        predictions.outputs,
        champion_outputs,
        list(new.card.classes),
        policy,
        slices=rows["origin"].tolist(),
        inclusion_probability=rows["inclusion_probability"].to_numpy(dtype=float),
        kind=new.card.label_kind,
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
