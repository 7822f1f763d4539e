"""The next batch: the champion scores the pool, a strategy chooses, annotators get it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from prefect import task

from core.database import writing
from core.locks import only_writer
from labeling import simulation
from labeling.audit.asking import audit_batch
from labeling.audit.membership import draw_standing_audit
from labeling.batches.batch import Batch
from labeling.batches.candidates import candidates_of
from labeling.batches.features import Features
from labeling.batches.quality_control import (
    QualityControlConfig,
    add_quality_controls,
    mask_for_annotators,
    pick_gold,
)
from labeling.batches.select import SelectionConfig, select_batch
from labeling.kinds import KINDS
from labeling.ledger import duels, overview, rounds
from labeling.ledger.answers import refuse_lost_classes
from labeling.ledger.examples import most_similar_labelled
from labeling.ledger.reasons import Reason
from labeling.ledger.samples import load_image_places
from labeling.quality.pre_annotations import pre_annotate
from labeling.strategies.pool import Pool
from labeling.studio import client
from labeling.studio.ml_backend import connect_backend
from labeling.studio.protocol import outgoing_tasks, pre_annotation_model
from labeling.studio.tabs import QUEUE, duel_stage
from models.registry import releases
from tasks.context import Context, open_context
from tasks.label.audit_part import choose_audit, print_missing
from tasks.label.copies import join_copies_of
from tasks.label.disputed import with_disputed
from tasks.label.drift_batch import DriftPart, drift_part, record_answer
from tasks.label.referred import take_in_referred
from tasks.label.relabel_part import relabel_part
from tasks.label.score_pool import FEATURES, embed_cold_pool, predict_pool
from tasks.label.shadow_part import first_part, take_in_shadow
from tasks.label.stage_images import stage_examples, stage_images
from tasks.report.artifacts import IMAGES_SHOWN, publish_batch_artifact
from tasks.retries import is_lock_busy, is_transient_error
from tasks.run_names import deployed_run

CHOICES = 20  # of a batch, at most; each time but the last, copies of its images became one group


@dataclass(frozen=True)
class _Parts:
    """What a batch is chosen from, and what it need not cover again."""

    pool: pd.DataFrame
    audit: pd.DataFrame
    gold: pd.DataFrame
    labelled: pd.DataFrame  # or before annotators

    @property
    def others(self) -> pd.DataFrame:
        """What no strategy chooses among."""
        return pd.concat([self.gold, self.audit], ignore_index=True)

    @property
    def covered(self) -> set[str]:
        """The groups of near-duplicates of which one is labelled or waits for a label."""
        return set(self.labelled["group_id"])


@dataclass(frozen=True)
class _Chosen:
    """A batch, the model whose predictions it was chosen by, and the rule in words."""

    batch: Batch
    model: str | None
    rule: str
    selection: SelectionConfig
    drift: DriftPart | None
    pool: set[str]
    features: Features | None

    @property
    def rule_and_model(self) -> str:
        """How it was chosen, for people."""
        return f"{self.rule}{f' with {self.model}' if self.model else ', no model yet'}"

    @property
    def audit_size(self) -> int:
        """How many of the samples are audit samples."""
        return int((self.batch.rows["reason"] == Reason.AUDIT).sum())


@task
def resume_round(round_id: str | None, annotators: str) -> str | None:
    """The round this run works on when it is the one asked for or was begun; None: a new one.

    A run of a deployment comes back to the round it chose before it was killed, a command that is
    given again to one that a command chose and did not send. What others chose and did not send is
    sent first. Nothing is chosen for annotators who cannot be reached: the server is called first.
    """
    ctx = open_context()
    if annotators == "simulated":
        simulation.load_simulation(ctx.workspace.root)
    else:
        with client.connect(**studio_address(ctx)):
            pass  # a token that is refused is an error now, before anything is chosen
    if round_id is not None:
        rounds.round_number(round_id)
        return round_id
    with ctx.engine.connect() as connection:
        refuse_lost_classes(connection, ctx.workspace.class_names, KINDS[ctx.workspace.kind])
        begun = rounds.begun_round(connection, deployed_run())
        unsent = rounds.unsent_rounds(connection)
    for other in unsent:
        if other != begun:
            send_batch.fn(other, annotators)
    return begun


@task(
    retries=3,
    retry_delay_seconds=[60, 600, 1800],  # a collect may be embedding the pool
    retry_condition_fn=is_lock_busy,
    timeout_seconds=6 * 3600,
)
def choose_batch(
    round_id: str | None,
    selection: SelectionConfig,
    queueing: QualityControlConfig,
    seed: int,
    queue_limit: int,
) -> str | None:
    """Record which samples are asked about in this round, or in a new one, and why; return it.

    Idempotent: a chosen round stays as it is. None is chosen while `queue_limit` samples wait.
    """
    ctx = open_context()
    referred, differing = take_in_referred(ctx, selection), take_in_shadow(ctx, selection)
    with only_writer(ctx.engine, "rounds") as token:
        with writing(ctx.engine) as connection:
            round_id = round_id or rounds.new_round(connection)
            if (size := rounds.round_size(connection, round_id)) is not None:
                print(f"{round_id} was chosen before, {size} samples: it is finished as it was")
                return round_id
            draw_standing_audit(connection, ctx.policies.audit)
        seeds = [seed, rounds.round_number(round_id)]
        chosen = _without_copies(ctx, seeds, selection, queueing, queue_limit, referred, differing)
        if chosen is None:
            return None
        selection, drift = chosen.selection, chosen.drift
        with writing(ctx.engine) as connection:
            rounds.open_round(
                connection,
                token,
                round_id,
                chosen.batch,
                strategy=selection.strategy,
                config={**asdict(selection), **asdict(queueing)},
                model=chosen.model,
                seed=seed,
                why=drift.decision.reason if drift else "scheduled",
                rule=chosen.rule,
                run=deployed_run(),
            )
            if drift:
                record_answer(connection, drift, round_id, chosen.batch.sample_ids)
    print(
        f"{round_id}: {len(chosen.batch)} of {len(chosen.pool)} chosen by {chosen.rule_and_model}"
    )
    print_missing(ctx, chosen.audit_size)
    return round_id


def _worth_choosing(
    pool: pd.DataFrame,
    audit: pd.DataFrame,
    waiting: int,
    queue_limit: int,
    selection: SelectionConfig,
) -> bool:
    """Whether there is anything to ask and room for it; prints why not."""
    if waiting >= queue_limit:
        print(f"{waiting} samples wait for annotators (limit {queue_limit}): nothing chosen")
        return False
    if pool.empty and audit.empty:
        remedy = "`hone collect` when they are answered" if waiting else "`hone ingest PATH`"
        print(f"nothing to choose: the pool is empty, {waiting} wait for annotators; {remedy}")
        return False
    absent = sorted(set(selection.named) - set(pool["sample_id"]))
    if absent:
        print(f"named, but labelled, asked about, in the audit or unknown: {', '.join(absent)}")
    return True


@task(
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=3600,
)
def send_batch(round_id: str, annotators: str) -> int:
    """Send the round to its annotators, each image with the model's pre-annotation.

    Idempotent: a retry, or a second run of the round, sends only what is missing.
    """
    ctx = open_context()
    with only_writer(ctx.engine, "rounds") as token:
        with ctx.engine.connect() as connection:
            batch = rounds.load_batch(connection, round_id)
            similar = batch.rows["most_similar"].dropna().unique().tolist()
            places = load_image_places(connection, sorted({*batch.sample_ids, *similar}))
        files = stage_images(ctx, places)
        if annotators == "simulated" or not len(batch):
            external_ids = {sample_id: sample_id for sample_id in batch.sample_ids}
        else:
            external_ids = _send(ctx, round_id, batch, files)
        rounds.record_sent(ctx.engine, token, round_id, external_ids)
    print(f"{round_id}: {len(external_ids)} before the annotators")
    return len(external_ids)


def _send(ctx: Context, round_id: str, batch: Batch, files: dict[str, str]) -> dict[str, str]:
    """Send the batch to Label Studio; return the task of each sample."""
    with ctx.engine.connect() as connection:
        tabs, under_way = rounds.recent_rounds(connection), duels.open_duel(connection)
        number = duels.duel_of_round(connection, round_id)
    rng = np.random.default_rng(rounds.round_number(round_id))  # a second run shows the same
    stage = QUEUE if number is None else duel_stage(number)
    outgoing = outgoing_tasks(round_id, mask_for_annotators(batch, rng, stage=stage), files)
    with client.connect(**studio_address(ctx)) as studio:
        studio.project(ctx.workspace, stage_examples(ctx), ctx.image_bucket)
        if ctx.image_bucket is None:
            studio.see(files[batch.sample_ids[0]])
        sent = studio.assign(outgoing)
        studio.show_tabs(tabs, duel=under_way.number if under_way else None)
        _connect_backend(ctx, studio, outgoing)
    return {sample_id: str(number) for sample_id, number in sent.items()}


def _connect_backend(ctx: Context, studio: client.Studio, outgoing: pd.DataFrame) -> None:
    """Let Label Studio ask the service for pre-annotations; annotators can work without it."""
    url, secret = ctx.settings.backend_url, ctx.settings.backend_secret
    if url is None or secret is None:
        return
    try:
        model = pre_annotation_model(outgoing)
        connect_backend(studio, url, secret.get_secret_value(), model=model)
    except ConnectionError as error:
        print(f"the batch is out, but the model is not connected: {error}")


@task
def publish_batch(round_id: str) -> None:
    """Show the batch, its images and why each was chosen, as an artifact in Prefect."""
    ctx = open_context()
    with ctx.engine.connect() as connection:
        batch = rounds.load_batch(connection, round_id)
        rule = rounds.load_rule(connection, round_id)
        places = load_image_places(connection, batch.sample_ids[:IMAGES_SHOWN])
    if not len(batch):
        return  # an old run, repeated: its artifact is there
    publish_batch_artifact(round_id, batch, rule, places, ctx.workspace.shards)


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


def _without_copies(ctx: Context, seeds: list[int], *about: Any) -> _Chosen | None:
    """The batch, chosen again with the same seed while copies of its images are found."""
    for _ in range(CHOICES):
        chosen = _choose(ctx, np.random.default_rng(seeds), *about)
        if not chosen or not join_copies_of(ctx, chosen.features, chosen.batch.sample_ids):
            break
    return chosen


def _choose(
    ctx: Context,
    rng: np.random.Generator,
    selection: SelectionConfig,
    queueing: QualityControlConfig,
    queue_limit: int,
    referred: Mapping[str, str],
    differing: Mapping[str, str],
) -> _Chosen | None:
    """The batch as the ledger records it; None where there is nothing to choose."""
    with ctx.engine.connect() as connection:
        waiting = overview.count_open(connection)
        pool = rounds.load_pool(connection)
        selection = with_disputed(connection, selection, set(pool["sample_id"]))
    names = set(pool["sample_id"])
    drift = drift_part(ctx, names, selection, rng)
    selection, audit = choose_audit(ctx, selection, len(pool), served_first=bool(drift))
    if not _worth_choosing(pool, audit, waiting, queue_limit, selection):
        return None
    first = first_part(ctx, referred, differing, names, selection, drift)
    wanted = {**first, **(drift.wanted if drift else {}), **first}  # referred ones first
    rest = drift.rest(selection) if drift else selection
    with ctx.engine.connect() as connection:
        every_gold = rounds.load_gold(connection)
        labelled = rounds.load_labelled_or_pending(connection)
    gold = pick_gold(every_gold, min(rest.size, len(pool) + len(audit)), queueing, rng)
    parts = _Parts(pool, audit, gold, labelled)
    model = releases.champion(ctx.engine)
    if model is None:
        batch, gold_batch, rule, features = _choose_cold(ctx, parts, rest, rng, wanted)
    else:
        batch, gold_batch, rule, features = _choose_with_model(ctx, parts, model, rest, rng, wanted)
    batch = add_quality_controls(batch, gold_batch, queueing, rng)
    with ctx.engine.connect() as connection:
        similar = most_similar_labelled(connection, batch.sample_ids, features)
    batch = batch.with_columns(most_similar=similar)
    return _Chosen(batch, model, rule, selection, drift, names, features)


def _choose_cold(
    ctx: Context,
    parts: _Parts,
    selection: SelectionConfig,
    rng: np.random.Generator,
    wanted: dict[str, str],
) -> tuple[Batch, Batch, str, Features | None]:
    """The batch while there is no model, pre-annotated by similar samples with labels; the rule."""
    pool = parts.pool
    predictions = embed_cold_pool(ctx, pool, parts.others, parts.labelled, selection)
    arrays, classes = predictions.pool, predictions.classes
    batch, rule = select_batch(
        candidates_of(pool),
        arrays,
        selection,
        rng,
        classes=classes,
        audit=audit_batch(parts.audit),
        wanted=wanted,
        covered=parts.covered,
    )
    if predictions.source:
        rule += f"; embeddings: {predictions.source}"
        rule += "" if arrays.probs is None else "; predictions: a linear head on these"
    gold_batch = Batch.of(parts.gold["sample_id"].tolist(), reason=str(Reason.GOLD))
    if arrays.labels is not None and (arrays.labels >= 0).any():
        ids = pool["sample_id"].tolist()
        batch = pre_annotate(batch, ids, arrays, classes, source=FEATURES)
    return batch, gold_batch, rule, predictions.features


def _choose_with_model(
    ctx: Context,
    parts: _Parts,
    model: str,
    selection: SelectionConfig,
    rng: np.random.Generator,
    wanted: dict[str, str],
) -> tuple[Batch, Batch, str, Features | None]:
    """The batch and the gold, pre-annotated by the model except second looks; the rule."""
    pool, labelled = parts.pool, parts.labelled
    relabel = Batch.of([], reason=str(Reason.RELABEL))
    candidates, first = candidates_of(pool), audit_batch(parts.audit)
    if selection.by_chance:  # the model predicts only the samples that were drawn
        batch, rule = select_batch(
            candidates, Pool(), selection, rng, audit=first, wanted=wanted, covered=parts.covered
        )
        drawn = pool[pool["sample_id"].isin(batch.sample_ids)]
        predictions = predict_pool(ctx, drawn, parts.others, labelled[:0], model, selection)
    else:
        predictions = predict_pool(ctx, pool, parts.others, labelled, model, selection)
        relabel = relabel_part(ctx, candidates, predictions.pool, labelled, selection, rng)
        batch, rule = select_batch(
            candidates,
            predictions.pool,
            selection,
            rng,
            classes=predictions.classes,
            audit=first,
            taken=len(relabel),
            wanted=wanted,
            covered=parts.covered,
        )
    gold_batch = Batch.of(parts.gold["sample_id"].tolist(), reason=str(Reason.GOLD))
    batch, gold_batch = (
        part.with_pre_annotations(predictions.pre_annotations(part.sample_ids))
        for part in (batch, gold_batch)
    )
    return batch.followed_by(relabel), gold_batch, rule, predictions.features
