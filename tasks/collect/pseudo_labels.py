"""Pseudo-labels of the unlabelled pool for the next snapshot, where they do no harm on the audit.

Before a snapshot is cut the pseudo-labels are tried out: a linear model on the embeddings is
trained on the labels alone and on labels and pseudo-labels, and both are judged on the same audit
samples, as any challenger is. Pseudo-labels that hurt there, or that too few audit samples can
judge, stay out of the snapshot, and the reason is stored with it. The next snapshot tries again,
with more labels.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from core.locks import LockBusy
from labeling.audit.numbers import Part
from labeling.audit.rows import of_part
from labeling.ledger.reasons import Split
from labeling.ledger.rounds import IMAGE_COLUMNS, load_pool
from labeling.quality.label_propagation import VERSION, propagate
from labeling.quality.pseudo_labels import SoftPolicy, head_with_and_without, pseudo_label_rows
from labeling.snapshots.publish import load_snapshot
from labeling.snapshots.table import SnapshotConfig, build_table
from models.judging.compare import Comparison, compare
from models.kinds import DEFAULT, KINDS
from models.registry.versions import find_model
from tasks.context import Context

# Samples (with their shard locations) in; their embeddings in that order, and the model's name out.
Embed = Callable[[pd.DataFrame], tuple[np.ndarray, str]]


@dataclass(frozen=True)
class SoftChoice:
    """The soft rows that go into the next snapshot, None for none, and why."""

    rows: pd.DataFrame | None
    why: str


@dataclass(frozen=True)
class _Embedded:
    """Labels to train on, the pool, and labelled audit samples, with their embeddings."""

    labelled: pd.DataFrame
    pool: pd.DataFrame
    audit: pd.DataFrame
    embeddings: np.ndarray  # of the three in this order, so that each part is a view
    source: str
    classes: list[str]

    @property
    def class_numbers(self) -> np.ndarray:
        """The class number of each label."""
        return pd.Index(self.classes).get_indexer(pd.Index(self.labelled["label"]))


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
    """The pseudo-labels to train on beside the labels of the next snapshot.

    `weight` is the training's weight of a certain pseudo-label, and `learnt` are the samples that
    the model behind the embeddings was trained on. Only labels that are trained on spread; audit
    samples serve to judge: their labels do not spread, and they get no pseudo-label.
    """
    if not policy.enabled or not weight:
        return SoftChoice(None, "pseudo-labels are off")
    table = build_table(engine, config).to_pandas()
    labelled, audit = (table[table["split"] == split] for split in (Split.TRAIN, Split.TEST))
    with engine.connect() as connection:
        pool = load_pool(connection)
        audit = of_part(connection, audit, part=Part.GATE)
    if len(audit) < policy.min_audit or labelled.empty or pool.empty:
        return SoftChoice(
            None,
            f"no pseudo-labels: {len(audit)} labelled audit samples ({policy.min_audit} are needed "
            f"to judge them), {len(labelled)} labels to spread, {len(pool)} samples in the pool",
        )
    images = pd.concat(
        [part[list(IMAGE_COLUMNS)] for part in (labelled, pool, audit)], ignore_index=True
    )
    try:
        embedded = _Embedded(labelled, pool, audit, *embed(images), classes)
    except LockBusy:  # perhaps for an hour; the labels do not wait for pseudo-labels
        why = "another process is scoring the pool; the next snapshot tries again"
        return SoftChoice(None, f"no pseudo-labels this time: {why}")
    rows = _pseudo_labels(embedded, policy, learnt)
    if rows.empty:
        reason = f"none has a confidence of {policy.least_confidence}"
        return SoftChoice(None, f"no pseudo-labels: {reason}")
    result = _comparison(embedded, rows, policy, weight)
    summary = f"{len(rows)} by {rows['source'].iloc[0]}; {_in_words(result)}"
    if result.worse:
        return SoftChoice(None, f"pseudo-labels are left out, they hurt: {summary}")
    return SoftChoice(rows, f"pseudo-labels: {summary}")


def training_samples_of(ctx: Context, model: str | None) -> set[str]:
    """The samples that a model was trained on, pseudo-labelled ones too; none without a model."""
    if model is None:
        return set()
    table = load_snapshot(ctx.engine, ctx.workspace, find_model(ctx.engine, model).snapshot)
    return set(table.loc[table["split"].isin([Split.TRAIN, Split.SOFT]), "sample_id"])


def _pseudo_labels(
    embedded: _Embedded, policy: SoftPolicy, learnt: Collection[str]
) -> pd.DataFrame:
    labels = len(embedded.labelled)
    probs = propagate(
        embedded.embeddings[: labels + len(embedded.pool)],
        np.arange(labels),
        embedded.class_numbers,
        len(embedded.classes),
        unseen=~embedded.labelled["sample_id"].isin(list(learnt)).to_numpy(),
    )
    return pseudo_label_rows(
        embedded.pool["sample_id"].tolist(),
        probs[labels:],
        embedded.classes,
        embedded.labelled["label"].tolist(),
        policy,
        source=f"{VERSION}, {embedded.source}",
    )


def _comparison(
    embedded: _Embedded, rows: pd.DataFrame, policy: SoftPolicy, weight: float
) -> Comparison:
    """A linear model trained with the pseudo-labels, against one without."""
    labels = len(embedded.labelled)
    drawn = pd.Index(embedded.pool["sample_id"]).get_indexer(pd.Index(rows["sample_id"]))
    probs = pd.DataFrame(rows["probs"].map(json.loads).tolist())[embedded.classes].to_numpy()
    outputs = head_with_and_without(
        embedded.embeddings[:labels],
        embedded.class_numbers,
        embedded.embeddings[labels + drawn],
        probs,
        weight * rows["trust"].to_numpy(),
        test=embedded.embeddings[labels + len(embedded.pool) :],
    )
    truths = embedded.audit["label"].tolist()
    with_them, without = (
        KINDS[DEFAULT].credit(probs, truths, embedded.classes) for probs in outputs
    )
    return compare(with_them, without, alpha=policy.alpha)


def _in_words(result: Comparison) -> str:
    difference = result.difference
    return (
        f"accuracy {result.challenger.value:.3f} on {difference.rows} audit samples with them, "
        f"{result.champion.value:.3f} without: {difference.value:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}]"
    )
