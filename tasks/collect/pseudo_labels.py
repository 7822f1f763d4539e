"""The unlabelled pool also trains: guesses of the propagation, for as long as the audit lets them.

Before a snapshot is cut the guesses are tried out: a linear model on the embeddings learns from the
labels alone and from labels and guesses, and both are judged on the same audit samples, as any
challenger is. Guesses that hurt there, or that too few audit samples can judge, stay out of the
snapshot, and the reason is kept with it. The next snapshot asks again, with more labels.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sqlalchemy import Engine, select

from core.locks import LockBusy
from labeling.ledger.rounds import IMAGE_COLUMNS, load_pool
from labeling.quality.label_propagation import VERSION, propagate
from labeling.quality.pseudo_labels import SoftPolicy, head_with_and_without, pseudo_label_rows
from labeling.snapshots.publish import load_snapshot
from labeling.snapshots.table import SOFT, SnapshotConfig, build_table
from models.judging.compare import compare
from models.judging.verdict import GatePolicy, Outcome, Verdict
from models.registry.versions import models
from tasks.context import Context

# Samples (with their places) in; their embeddings, in that order, and what made them out.
Embed = Callable[[pd.DataFrame], tuple[np.ndarray, str]]


@dataclass(frozen=True)
class SoftChoice:
    """The soft rows that go into the next snapshot, None for none, and why."""

    rows: pd.DataFrame | None
    why: str


@dataclass(frozen=True)
class _Scene:
    """Labels that are trained on, the pool, and labelled audit samples, as a network saw them."""

    taught: pd.DataFrame
    pool: pd.DataFrame
    audit: pd.DataFrame
    embeddings: np.ndarray  # of the three in this order, so that each part is a view
    source: str
    classes: list[str]

    @property
    def said(self) -> np.ndarray:
        """The class number of each label."""
        return pd.Index(self.classes).get_indexer(pd.Index(self.taught["label"]))


def choose_pseudo_labels(
    engine: Engine,
    classes: list[str],
    embed: Embed,
    policy: SoftPolicy,
    config: SnapshotConfig,
    *,
    weight: float,
    learnt: Collection[str] = (),
) -> SoftChoice:
    """The guesses to train on beside the labels of the next snapshot.

    `weight` is what the training gives to a guess that is certain, and `learnt` are the samples
    that the model behind the embeddings was trained on. Only labels that are trained on spread;
    audit samples are looked at to judge, and neither spread nor are guessed.
    """
    if not policy.enabled or not weight:
        return SoftChoice(None, "soft labels are off")
    table = build_table(engine, config).to_pandas()
    taught, audit = (table[table["split"] == split] for split in ("train", "test"))
    with engine.connect() as connection:
        pool = load_pool(connection)
    if len(audit) < policy.min_audit or taught.empty or pool.empty:
        return SoftChoice(
            None,
            f"no soft labels: {len(audit)} labelled audit samples ({policy.min_audit} are needed "
            f"to judge them), {len(taught)} labels to spread, {len(pool)} samples in the pool",
        )
    places = pd.concat(
        [part[list(IMAGE_COLUMNS)] for part in (taught, pool, audit)], ignore_index=True
    )
    try:
        scene = _Scene(taught, pool, audit, *embed(places), classes)
    except LockBusy:  # perhaps for an hour; the labels do not wait for pseudo-labels
        return SoftChoice(
            None,
            "no soft labels this time: another process is looking at the pool; the next snapshot "
            "asks again",
        )
    rows = _guessed(scene, policy, learnt)
    if rows.empty:
        return SoftChoice(None, f"no soft labels: no guess is {policy.least_confidence} sure")
    verdict = _verdict(scene, rows, policy, weight)
    if "difference" not in verdict.metrics:
        return SoftChoice(None, f"no soft labels, nobody can tell: {'; '.join(verdict.reasons)}")
    told = f"{len(rows)} guesses by {rows['source'].iloc[0]}; {_in_words(verdict)}"
    if verdict.outcome == Outcome.REJECT:
        return SoftChoice(None, f"soft labels are left out, they hurt: {told}")
    return SoftChoice(rows, f"soft labels: {told}")


def training_samples_of(ctx: Context, model: str | None) -> set[str]:
    """The samples that a model was trained on, guessed ones too; none where there is no model."""
    if model is None:
        return set()
    with ctx.engine.connect() as connection:
        name = connection.scalar(select(models.c.snapshot).where(models.c.version == model))
    if name is None:
        raise ValueError(f"{model!r} is no model of ours; `hone status` says which is in service")
    table = load_snapshot(ctx.engine, ctx.workspace, name)
    return set(table.loc[table["split"].isin(["train", SOFT]), "sample_id"])


def _guessed(scene: _Scene, policy: SoftPolicy, learnt: Collection[str]) -> pd.DataFrame:
    probs = propagate(
        scene.embeddings[: len(scene.taught) + len(scene.pool)],
        np.arange(len(scene.taught)),
        scene.said,
        len(scene.classes),
        unseen=~scene.taught["sample_id"].isin(list(learnt)).to_numpy(),
    )
    return pseudo_label_rows(
        scene.pool["sample_id"].tolist(),
        probs[len(scene.taught) :],
        scene.classes,
        scene.taught["label"].tolist(),
        policy,
        source=f"{VERSION}, {scene.source}",
    )


def _verdict(scene: _Scene, rows: pd.DataFrame, policy: SoftPolicy, weight: float) -> Verdict:
    """On a linear model that learnt from the guesses, too, in place of one that did not."""
    labels, everything = len(scene.taught), len(scene.taught) + len(scene.pool)
    guessed = pd.Index(scene.pool["sample_id"]).get_indexer(pd.Index(rows["sample_id"]))
    probs = pd.DataFrame(rows["probs"].map(json.loads).tolist())[scene.classes].to_numpy()
    with_them, without = head_with_and_without(
        scene.embeddings[:labels],
        scene.said,
        scene.embeddings[labels + guessed],
        probs,
        weight * rows["trust"].to_numpy(),
        asked=scene.embeddings[everything:],
    )
    return compare(
        scene.audit["label"].tolist(),
        with_them,
        without,
        scene.classes,
        GatePolicy(min_rows=policy.min_audit, alpha=policy.alpha),
        inclusion_probability=scene.audit["inclusion_probability"].to_numpy(dtype=float),
    )


def _in_words(verdict: Verdict) -> str:
    found = verdict.metrics
    return (
        f"right on {found['challenger_accuracy']:.3f} of {found['rows']} audit samples with them, "
        f"{found['champion_accuracy']:.3f} without: {found['difference']:+.3f} "
        f"[{found['difference_low']:+.3f}, {found['difference_high']:+.3f}]"
    )
