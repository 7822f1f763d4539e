"""Inferred labels of the unlabelled pool for the next snapshot, where they help.

The pool takes part by the features that batches are chosen by before there is a model: no label had
a part in them, so a held-out label is a fair judge. Where held-out labels are not likelier with the
pool than without, or where a model that was trained on labels alone is already better than what the
pool would teach, the snapshot has no such rows, and the reason is stored with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.locks import LockBusy
from labeling import kinds as label_kinds
from labeling.batches.features import Features
from labeling.ledger.reasons import Split
from labeling.ledger.rounds import IMAGE_COLUMNS
from labeling.quality.student import FEWEST, Student, TrainPolicy, reduced, student
from labeling.snapshots.publish import load_snapshot
from labeling.snapshots.table import SnapshotConfig, build_table
from models.judging.compare import compare
from models.kinds import KINDS
from models.registry.overview import model_origin
from models.registry.releases import champion
from models.registry.versions import find_model
from tasks.context import Context
from tasks.label.copies import join_copies_of
from tasks.label.score_pool import pool_outputs
from tasks.soft_rows import SoftChoice, free_pool, may_be_learnt, soft_rows

SOURCE = "pool"  # of the rows in the snapshot
POOL_ROWS = 20_000  # of the pool that take part: the cost of the graph is their square
LEAST_POOL = 200  # samples: fewer teach nothing worth a look
MOST_LABELS = 10_000  # of more the pool teaches nothing that the labels do not
MOST_WORK = 500_000  # labels times classes: the heads that are compared take minutes at most
SOFT_ROWS = 2_000  # in a snapshot; a head learns as much from them as from 10,000
MOST_APART = 5_000  # samples whose copies are looked for
ALPHA = 0.2  # of the test whether a model is better already: leaving out costs less than harm
LEAST_CHECK = 20  # validation rows of that test

# Samples (with their shard locations) in; their features out, None where none are at hand.
Embed = Callable[[pd.DataFrame], np.ndarray | None]


@dataclass(frozen=True)
class _Samples:
    """Labels to train on and to validate on, the pool, and what else must not be trained on."""

    learn: pd.DataFrame  # one of each group of near-duplicates, as of the pool
    held: pd.DataFrame
    pool: pd.DataFrame
    apart: pd.DataFrame  # audit and gold samples with a label

    @property
    def images(self) -> pd.DataFrame:
        """What a network needs to know of all, learn and pool first."""
        parts = (self.learn, self.pool, self.held, self.apart)
        return pd.concat([part[list(IMAGE_COLUMNS)] for part in parts], ignore_index=True)


def choose_pool_rows(
    ctx: Context, policy: TrainPolicy, config: SnapshotConfig, embed: Embed
) -> SoftChoice:
    """The rows of the pool to train on beside the labels of the next snapshot.

    None resembles an audit, gold, duel or validation sample, also by features, and of
    near-duplicates one takes part. Time and memory are bounded whatever the size of the pool.
    """
    if policy.pool == "off":
        return SoftChoice(None, "the pool is not trained on: it is off in hone.toml")
    samples = _samples(ctx, config)
    learn, pool = len(samples.learn), len(samples.pool)
    most = min(MOST_LABELS, MOST_WORK // len(ctx.workspace.class_names))
    if not FEWEST <= learn <= most or pool < LEAST_POOL:
        return _none(
            f"{learn} labels ({FEWEST} to {most:,} are needed), {pool} samples in the pool "
            f"({LEAST_POOL} are needed)"
        )
    try:
        embeddings = embed(samples.images)
        if embeddings is not None and _joined_copies(ctx, samples, embeddings):
            samples = _samples(ctx, config)
            embeddings = embed(samples.images)
    except LockBusy:  # perhaps for an hour; the labels do not wait for the pool
        return _none("another process embeds the pool; the next snapshot tries again")
    if embeddings is None:
        return _none("no features are at hand")
    choice = _by_evidence(ctx, samples, embeddings)
    print(choice.why)
    return choice


def _joined_copies(ctx: Context, samples: _Samples, embeddings: np.ndarray) -> bool:
    """Whether a copy that only features show joined the group of what must not be trained on."""
    features = Features(pd.Index(samples.images["sample_id"]), embeddings)
    apart = pd.concat([samples.held["sample_id"], samples.apart["sample_id"]])
    return join_copies_of(ctx, features, apart.tolist()[:MOST_APART])


def _by_evidence(ctx: Context, samples: _Samples, embeddings: np.ndarray) -> SoftChoice:
    """The rows that held-out labels are for, or why there are none."""
    learn, pool = len(samples.learn), len(samples.pool)
    features, classes = reduced(embeddings), ctx.workspace.class_names
    numbers = pd.Index(classes).get_indexer(pd.Index(samples.learn["label"]))
    made = student(features[: learn + pool], np.arange(learn), numbers, len(classes))
    if not made.helps:
        return _none(made.why)
    validation = slice(learn + pool, learn + pool + len(samples.held))
    if better := _better_model(ctx, samples.held, made, features[validation]):
        return _none(better)
    rows = _rows(ctx, samples.pool, made.probs[learn:], made.trust[learn:])
    return SoftChoice(
        rows, f"{len(rows)} inferred labels of {pool} samples of the pool: {made.why}"
    )


def training_samples_of(ctx: Context, model: str) -> set[str]:
    """The samples that a model was trained on, those of the pool too."""
    table = load_snapshot(ctx.engine, ctx.workspace, find_model(ctx.engine, model).snapshot)
    return set(table.loc[table["split"].isin([Split.TRAIN, Split.SOFT]), "sample_id"])


def _none(why: str) -> SoftChoice:
    return SoftChoice(None, f"the pool is not trained on: {why}")


def _samples(ctx: Context, config: SnapshotConfig) -> _Samples:
    kind = label_kinds.KINDS[ctx.workspace.kind]
    table = build_table(ctx.engine, config, kind=kind).to_pandas()
    known = table["label"].isin(ctx.workspace.class_names)  # a class may have been taken away
    with ctx.engine.connect() as connection:
        pool = free_pool(connection, POOL_ROWS)
    pool = pool.drop_duplicates("group_id")  # copies are each other's neighbours, and teach nothing
    learn, held = (table[known & (table["split"] == split)] for split in (Split.TRAIN, Split.VAL))
    learn = learn.drop_duplicates("group_id")  # else a held-out label is predicted from its copy
    apart = table[table["split"].isin([Split.TEST, Split.HELD])]
    return _Samples(learn, held, pool[~pool["group_id"].isin(table["group_id"])], apart)


def _better_model(
    ctx: Context, held: pd.DataFrame, made: Student, features: np.ndarray
) -> str | None:
    """Why the champion knows more than the pool would teach, by labels that neither was trained on.

    A champion that was itself trained on the pool shows nothing about a training without it.
    """
    model = champion(ctx.engine)
    if model is None or held.empty:
        return None
    with ctx.engine.connect() as connection:
        if model_origin(connection, model)[0].pool is not None:
            return None
    unseen = ~held["sample_id"].isin(training_samples_of(ctx, model)).to_numpy()
    if unseen.sum() < LEAST_CHECK:
        return None
    truths = held.loc[unseen, "label"].tolist()
    card, outputs = pool_outputs(ctx, model, held[unseen])
    kind = KINDS[ctx.workspace.kind]
    ours = kind.credit(made.head.probs(features[unseen]), truths, ctx.workspace.class_names)
    result = compare(ours, kind.credit(outputs, truths, card.classes), alpha=ALPHA)
    if not result.worse:
        return None
    return (
        f"{model} is right on {result.champion.value:.3f} of {len(truths)} validation samples, "
        f"what the pool teaches on {result.challenger.value:.3f}"
    )


def _rows(ctx: Context, pool: pd.DataFrame, probs: np.ndarray, trust: np.ndarray) -> pd.DataFrame:
    """At most SOFT_ROWS of the pool's half, a random draw, with what the student infers of them."""
    rows = np.flatnonzero([may_be_learnt(name) for name in pool["sample_id"]])[:SOFT_ROWS]
    return soft_rows(
        pool["sample_id"].iloc[rows].tolist(),
        probs[rows],
        ctx.workspace.class_names,
        KINDS[ctx.workspace.kind],
        source=SOURCE,
        trust=trust[rows],
    )
