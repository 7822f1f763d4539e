"""The next batch: the champion looks at the pool, a strategy chooses, annotators get it."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
from prefect import task

from core.database import writing
from core.locks import only_writer
from labeling import simulation
from labeling.batches.audit_share import raise_audit_share
from labeling.batches.checks import validate_predictions
from labeling.batches.quality_control import (
    QualityControlConfig,
    add_quality_controls,
    mask_for_annotators,
    pick_gold,
)
from labeling.batches.relabel import relabel_candidates
from labeling.batches.select import SelectionConfig, select_batch, share_of
from labeling.kinds import KINDS
from labeling.ledger import overview, rounds
from labeling.ledger.answers import refuse_lost_classes
from labeling.ledger.audit_progress import load_audit_progress
from labeling.ledger.examples import most_similar_labelled
from labeling.ledger.reasons import Reason
from labeling.ledger.settlement import load_ledger_state
from labeling.quality.pseudo_labels import never_pseudo_labelled, pre_annotate
from labeling.snapshots.publish import has_pseudo_labels
from labeling.strategies.pool import Pool
from labeling.studio import client
from labeling.studio.ml_backend import connect_backend
from labeling.studio.protocol import pre_annotation_model
from models.registry import versions
from models.watching import decisions
from tasks.context import Context, open_context
from tasks.label.score_pool import FEATURES, PoolPredictions, embed_cold_pool, predict_pool
from tasks.label.stage_images import stage_examples, stage_images
from tasks.report.artifacts import publish_batch_artifact
from tasks.retries import is_lock_busy, is_transient_error

DRIFT_SHARE = 0.8  # of a batch that answers a drift signal: most of it from the drifted traffic


@task
def name_round(round_id: str | None, annotators: str) -> str:
    """The round this run works on: the one asked for, an unfinished one, or the next.

    Nothing is chosen for annotators who could not be asked: the server is greeted first.
    """
    ctx = open_context()
    if annotators == "simulated":
        simulation.load_simulation(ctx.workspace.root)
    else:
        with client.connect(**studio_address(ctx)):
            pass  # a token that is refused is found out now
    if round_id is not None:
        rounds.round_number(round_id)
        return round_id
    with ctx.engine.connect() as connection:
        refuse_lost_classes(connection, ctx.workspace.class_names, KINDS[ctx.workspace.kind])
        return rounds.next_round(connection)


@task(
    retries=3,
    retry_delay_seconds=[60, 600, 1800],  # a collect with soft labels may be looking at the pool
    retry_condition_fn=is_lock_busy,
    timeout_seconds=6 * 3600,
)
def choose_batch(
    round_id: str,
    selection: SelectionConfig,
    queueing: QualityControlConfig,
    seed: int,
    queue_limit: int,
) -> int:
    """Write down who is asked in this round and why; return how many it has.

    Idempotent: a round that was chosen stays as it was chosen. Nothing is chosen while
    `queue_limit` samples wait for annotators already.
    """
    ctx = open_context()
    with only_writer(ctx.engine, "rounds") as token:
        with ctx.engine.connect() as connection:
            size = rounds.round_size(connection, round_id)
            if size is not None:
                print(f"{round_id} was chosen before, {size} samples: it is finished as it was")
                return size
            waiting = overview.count_open(connection)
            pool = rounds.load_pool(connection)
            progress = load_audit_progress(connection, ctx.policies.gate.min_rows)
        if not _worth_choosing(pool, waiting, queue_limit, selection):
            return 0
        drift = decisions.unanswered_drift(ctx.engine)
        if drift is not None:
            selection = replace(selection, served_share=max(selection.served_share, DRIFT_SHARE))
        selection = raise_audit_share(selection, missing=progress.missing, pool_size=len(pool))
        rng = np.random.default_rng([seed, rounds.round_number(round_id)])
        batch, model, rule = _choose(ctx, pool, selection, queueing, rng)
        with writing(ctx.engine) as connection:
            rounds.open_round(
                connection,
                token,
                round_id,
                batch,
                strategy=selection.strategy,
                config={**asdict(selection), **asdict(queueing)},
                model=model,
                seed=seed,
                why=drift.reason if drift is not None else "scheduled",
                rule=rule,
            )
            if drift is not None:
                decisions.answer_decision(connection, drift.decision_id, round_id)
            progress = load_audit_progress(connection, progress.needed)
    print(
        f"{round_id}: {len(batch)} of {len(pool)} chosen by {rule}"
        f"{' with ' + model if model else ', no model yet'}"
    )
    if not progress.verdict_possible:
        print(progress.sentence(per_round=int((batch["reason"] == Reason.AUDIT).sum())))
    return len(batch)


def _worth_choosing(
    pool: pd.DataFrame, waiting: int, queue_limit: int, selection: SelectionConfig
) -> bool:
    """Whether somebody can be asked about anything; what cannot be done is printed."""
    if waiting >= queue_limit:
        print(f"{waiting} samples wait for annotators (limit {queue_limit}): nothing chosen")
        return False
    if pool.empty:
        remedy = "`hone collect` when they answered" if waiting else "`hone ingest PATH`"
        print(f"nothing to choose: the pool is empty, {waiting} wait for annotators; {remedy}")
        return False
    absent = sorted(set(selection.named) - set(pool["sample_id"]))
    if absent:
        print(f"named, but labelled, asked about or unknown: {', '.join(absent)}")
    return True


@task(
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=3600,
)
def send_batch(round_id: str, annotators: str) -> int:
    """Put the round before its annotators, the model's guess beside each image.

    Idempotent: a retry, or a second run of the round, sends only what is missing.
    """
    ctx = open_context()
    with only_writer(ctx.engine, "rounds") as token:
        with ctx.engine.connect() as connection:
            batch = rounds.open_assignments(connection, round_id)
            known = rounds.recent_rounds(connection)
            similar = batch["most_similar"].dropna().unique().tolist()
            places = rounds.load_image_places(connection, similar)
        batch["file"] = stage_images(ctx, batch)
        files = dict(zip(places["sample_id"], stage_images(ctx, places), strict=True))
        batch["similar"] = batch["most_similar"].map(files)
        if annotators == "simulated" or batch.empty:
            outside = dict(zip(batch["sample_id"], batch["sample_id"], strict=True))
        else:
            rng = np.random.default_rng(
                rounds.round_number(round_id)
            )  # a second run tells the same
            with client.connect(**studio_address(ctx)) as studio:
                studio.project(ctx.workspace, stage_examples(ctx), ctx.image_bucket)
                if ctx.image_bucket is None:
                    studio.see(batch["file"].iloc[0])
                sent = studio.assign(mask_for_annotators(batch, rng))
                studio.show_tabs(known)
                _connect_backend(ctx, studio, batch)
            outside = {sample_id: str(number) for sample_id, number in sent.items()}
        rounds.record_sent(ctx.engine, token, round_id, outside)
    print(f"{round_id}: {len(outside)} before the annotators")
    return len(outside)


def _connect_backend(ctx: Context, studio: client.Studio, batch: pd.DataFrame) -> None:
    """Let Label Studio ask the service for guesses; without it annotators work on just as well."""
    url, secret = ctx.settings.backend_url, ctx.settings.backend_secret
    if url is None or secret is None:
        return
    try:
        connect_backend(studio, url, secret.get_secret_value(), model=pre_annotation_model(batch))
    except ConnectionError as error:
        print(f"the batch is out, but the model is not connected: {error}")


@task
def publish_batch(round_id: str) -> None:
    """Show the batch, its images and why each was chosen, as an artifact in Prefect."""
    ctx = open_context()
    with ctx.engine.connect() as connection:
        batch = rounds.open_assignments(connection, round_id)
        rule = rounds.load_rule(connection, round_id)
    if batch.empty:
        return  # an old run, repeated: what it had to show was shown
    publish_batch_artifact(round_id, batch, rule, ctx.workspace.shards)


def studio_address(ctx: Context) -> dict[str, str]:
    """Where Label Studio is, and the token; a missing one is an error that says what to set."""
    url, key = ctx.settings.label_studio_url, ctx.settings.label_studio_api_key
    if not url or not key:
        missing = "LABEL_STUDIO_URL" if not url else "LABEL_STUDIO_API_KEY"
        raise ValueError(
            f"{missing} is not set, so no annotator can be asked; set it in the environment or "
            "in .env (see .env.example)"
        )
    return {"url": url, "api_key": key.get_secret_value()}


def _choose(
    ctx: Context,
    pool: pd.DataFrame,
    selection: SelectionConfig,
    queueing: QualityControlConfig,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, str | None, str]:
    """The batch as it stands before people, the model whose guesses it has, and by which rule."""
    with ctx.engine.connect() as connection:
        known = rounds.load_gold(connection)
        spoken_for = rounds.load_labelled_or_pending(connection)
        if has_pseudo_labels(connection):
            pool = pool.assign(
                never_pseudo_labelled=never_pseudo_labelled(pool["sample_id"].tolist())
            )
    pool = pool.assign(has_duplicate_in_train=pool["group_id"].isin(spoken_for["group_id"]))
    gold = pick_gold(known, min(selection.size, len(pool)), queueing, rng)
    model = versions.champion(ctx.engine)
    if model is None:
        sight = embed_cold_pool(ctx, pool, spoken_for, selection)
        batch, rule = select_batch(pool, sight.pool, selection, rng, classes=sight.classes)
        batch = _first_guesses(batch, pool, sight)
        gold = gold[["sample_id"]]
    else:
        batch, gold, rule = _with_model(ctx, pool, gold, spoken_for, model, selection, rng)
    batch = add_quality_controls(batch, gold, queueing, rng)
    with ctx.engine.connect() as connection:
        batch["most_similar"] = most_similar_labelled(connection, batch["sample_id"].tolist())
    return batch, model, rule


def _with_model(
    ctx: Context,
    pool: pd.DataFrame,
    gold: pd.DataFrame,
    spoken_for: pd.DataFrame,
    model: str,
    selection: SelectionConfig,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The batch and the gold with the model's guesses, second looks without; and by which rule."""
    again = pd.DataFrame()
    if selection.by_chance:  # the model is asked only about those who were drawn
        batch, rule = select_batch(pool, Pool(), selection, rng)
        drawn = pool[pool["sample_id"].isin(batch["sample_id"])]
        sight = predict_pool(ctx, drawn, gold, spoken_for[:0], model, selection)
    else:
        sight = predict_pool(ctx, pool, gold, spoken_for, model, selection)
        again = _second_looks(ctx, pool, sight, spoken_for, selection, rng)
        batch, rule = select_batch(
            pool, sight.pool, selection, rng, classes=sight.classes, taken=len(again)
        )
    batch, gold = _with_guesses(batch, sight), _with_guesses(gold[["sample_id"]], sight)
    again["position"] = range(len(batch), len(batch) + len(again))
    return pd.concat([batch, again], ignore_index=True) if len(again) else batch, gold, rule


def _with_guesses(rows: pd.DataFrame, sight: PoolPredictions) -> pd.DataFrame:
    """The rows with what the model says of each; with nothing where it is no probability."""
    told = sight.guesses(rows["sample_id"].tolist())
    return rows.merge(told[told["confidence"].between(0, 1)], on="sample_id", how="left")


def _first_guesses(batch: pd.DataFrame, pool: pd.DataFrame, sight: PoolPredictions) -> pd.DataFrame:
    """The batch with what the labels so far say of like samples, while there is no model."""
    seen = sight.pool
    if seen.labels is None or not (seen.labels >= 0).any():
        return batch
    ids = pool["sample_id"].tolist()
    return pre_annotate(batch, ids, seen, sight.classes, source=FEATURES)


def _second_looks(
    ctx: Context,
    pool: pd.DataFrame,
    sight: PoolPredictions,
    spoken_for: pd.DataFrame,
    selection: SelectionConfig,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Labels that take places of this batch: they teach more than the new samples in their place.

    The audit, the named and quotas keep their places, and one stays for what is new.
    """
    spare = selection.size - max(selection.promised, 1)
    limit = min(share_of(selection.size, selection.relabel_share), spare)
    seen = sight.pool
    if limit == 0 or seen.embeddings is None or seen.labelled is None:
        return pd.DataFrame()
    validate_predictions(pool, seen)  # before a head is fitted to it
    with ctx.engine.connect() as connection:
        known = rounds.load_labelled(connection)["sample_id"]
        given = load_ledger_state(connection).answers
    is_known = (spoken_for["label"].notna() & spoken_for["sample_id"].isin(known)).to_numpy()
    found = relabel_candidates(
        seen.embeddings,
        seen.labelled[is_known],
        spoken_for[is_known].reset_index(drop=True),
        given[given["kind"] != "skip"],
        size=selection.size,
        limit=limit,
        seed=int(rng.integers(2**31)),
    )
    return found.assign(reason=Reason.RELABEL, confidence=1 - found["score"])
