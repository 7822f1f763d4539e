"""Predictions for the pool as strategies and annotators need them: probabilities and embeddings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labeling.batches.batch import PRE_ANNOTATIONS
from labeling.batches.features import Features
from labeling.batches.select import SelectionConfig
from labeling.ingest.intake import INDEX
from labeling.ledger.rounds import latest_config
from labeling.quality.linear_head import fit_head
from labeling.strategies import STRATEGIES
from labeling.strategies.pool import Pool
from models.kinds import KINDS, Kind
from tasks.context import Context
from tasks.predictions import EXACT, REFERENCE, cache_served, load_version
from tasks.report.artifacts import progress
from tasks.report.console import ShowProgress

if TYPE_CHECKING:
    from pathlib import Path

    from models.registry.model_card import ModelCard
    from models.registry.model_store import LoadedModel
    from models.scoring.cache import ScoreCache
    from models.scoring.score_pool import ScoredTable

FEATURES = "features"  # folder of the embeddings before any model
NO_SAMPLES = pd.Index([], dtype=object)
N_MEMBERS = 10  # heads of an ensemble, for strategies that compare them
BF16_TRIAL_ROWS = 4_000  # images from which on a faster number format is tried out
ROWS_PER_RAY_CALL = 200_000  # images that a cluster is given before its predictions are stored
DIGITS = 5  # of a probability in the ledger
HEAD_LABELS = 10_000  # that a head is fitted to where there is no model: seconds, at most


@dataclass(frozen=True)
class PoolPredictions:
    """The pool as strategies take it, and a model's outputs for the samples one may ask about."""

    pool: Pool
    classes: list[str]
    sample_ids: pd.Index  # of the pool and the others
    outputs: np.ndarray  # of these, as the kind declares them
    model: str
    kind: Kind
    source: str = ""  # of embeddings that no champion made, in words
    features: Features | None = None  # of the pool, the others and the labelled

    def pre_annotations(self, sample_ids: Sequence[str]) -> pd.DataFrame:
        """The PRE_ANNOTATIONS of these samples; none of a sample without a usable output."""
        outputs = self.outputs[self.sample_ids.get_indexer(pd.Index(sample_ids))]
        answers = self.kind.answers(outputs, self.classes)
        probs = np.round(self.kind.probabilities(outputs, self.classes), DIGITS).tolist()
        table = pd.DataFrame(
            {
                "sample_id": pd.Series(list(sample_ids), dtype=object),
                "pre_annotation": [answer.label for answer in answers],
                "confidence": [answer.confidence for answer in answers],
                "pre_annotation_model": self.model,
                "probs": [dict(zip(self.classes, row, strict=True)) for row in probs],
            }
        )
        return PRE_ANNOTATIONS.check(table[table["confidence"].between(0, 1)])


def predict_pool(
    ctx: Context,
    pool: pd.DataFrame,
    others: pd.DataFrame,
    labelled: pd.DataFrame,
    model: str,
    selection: SelectionConfig,
) -> PoolPredictions:
    """The champion's predictions for the pool, for `others` of the batch, and for `labelled`.

    No strategy chooses among the others: they are the audit and gold.

    `labelled` are the samples that have a label or wait for one.
    """
    from models.scoring.ensemble import ensemble_predictions

    loaded = load_version(ctx, model)
    table = pd.concat([pool, others, labelled], ignore_index=True)
    predictions = _scored(ctx, loaded, table)
    classes, kind = list(loaded.card.classes), loaded.card.label_kind
    n_pool, n_asked = len(pool), len(pool) + len(others)
    labelled_embeddings = predictions.embeddings[n_asked:]
    numbers = kind.class_numbers(list(labelled["label"]), classes)
    embeddings = predictions.embeddings[:n_pool]
    ensemble = None
    if "ensemble" in STRATEGIES[selection.strategy].needs:
        ensemble = ensemble_predictions(
            loaded.network,
            embeddings,
            n_members=N_MEMBERS,
            seed=0,
            labelled=labelled_embeddings,
            labels=numbers,
            folder=ctx.workspace.scores,
        )
    probs = kind.probabilities(predictions.outputs[:n_pool], classes)
    return PoolPredictions(
        Pool(probs, embeddings, ensemble, labelled_embeddings, numbers),
        classes,
        pd.Index(pd.concat([pool["sample_id"], others["sample_id"]], ignore_index=True)),
        predictions.outputs[:n_asked],
        model,
        kind,
        features=Features(pd.Index(table["sample_id"]), predictions.embeddings),
    )


def embed_cold_pool(
    ctx: Context,
    pool: pd.DataFrame,
    others: pd.DataFrame,
    labelled: pd.DataFrame,
    selection: SelectionConfig,
) -> PoolPredictions:
    """The embeddings of the pool before there is a model; none where chance decides anyway.

    With labels of two classes there are probabilities, too: those of a linear head on the
    embeddings. No strategy chooses among `others` of the batch: they are the audit and gold.
    """
    classes, kind = ctx.workspace.class_names, KINDS[ctx.workspace.kind]
    arrays, features, source = Pool(), None, ""
    if selection.strategy != "random" and len(pool):
        table = pd.concat([pool, labelled, others], ignore_index=True)
        seconds = selection.feature_seconds
        embeddings, source = cold_start_embeddings(ctx, table, seconds=seconds)
        features = Features(pd.Index(table["sample_id"]), embeddings)
        of_pool = embeddings[: len(pool)]
        known = embeddings[len(pool) : len(pool) + len(labelled)]
        numbers = kind.class_numbers(list(labelled["label"]), classes)
        probs = _head_probs(of_pool, known, numbers, len(classes))
        arrays = Pool(probs=probs, embeddings=of_pool, labelled=known, labels=numbers)
    no_outputs = np.empty((0, kind.output_width(len(classes))), np.float32)
    return PoolPredictions(
        arrays, classes, NO_SAMPLES, no_outputs, FEATURES, kind, source, features
    )


def _head_probs(
    embeddings: np.ndarray, labelled: np.ndarray, numbers: np.ndarray, classes: int
) -> np.ndarray | None:
    """What a linear head makes of the embeddings; None with labels of fewer than two classes."""
    known = np.flatnonzero(numbers >= 0)
    known = np.sort(np.random.default_rng(len(known)).permutation(known)[:HEAD_LABELS])
    if len(np.unique(numbers[known])) < 2:
        return None
    head = fit_head(labelled[known], np.eye(classes, dtype=np.float32)[numbers[known]])
    return head.probs(embeddings)


def cold_start_embeddings(
    ctx: Context, table: pd.DataFrame, *, seconds: float
) -> tuple[np.ndarray, str]:
    """Embeddings of these samples by a network that learnt from no label, and which, with licence.

    It is printed, too.
    """
    from models.pretraining import cold_start
    from models.runtimes.policy import Policy

    show_training = progress("Training an embedding network on the pool, in steps")
    show: ShowProgress | None = None

    def show_embedding(done: float, total: float) -> None:
        nonlocal show
        if show is None:  # its rate counts from here on
            show_training(1, 1)
            show = progress("Embedding the pool before there is a model")
        show(done, total)

    embeddings, source = cold_start.cold_start_embeddings(
        table,
        ctx.workspace.shards,
        ctx.workspace.image_size,
        folder=ctx.workspace.scores / FEATURES,
        features=ctx.settings.features,
        seconds=seconds,
        threads=ctx.settings.threads,
        policy=Policy(ctx.settings.runtime),
        on_training=show_training,
        on_progress=show_embedding,
    )
    show_embedding(1, 1)
    print(f"embeddings: {source}")
    return embeddings, source


def features_at_hand(ctx: Context, table: pd.DataFrame) -> np.ndarray | None:
    """The embeddings that samples have before there is a model, for more than choosing.

    None where the network would have to be made for them first: that may take minutes.
    """
    from models.pretraining.cold_start import is_at_hand

    with ctx.engine.connect() as connection:
        config = latest_config(connection)
    seconds = float(config.get("feature_seconds", SelectionConfig.feature_seconds))
    if not is_at_hand(
        len(table),
        ctx.workspace.image_size,
        folder=ctx.workspace.scores / FEATURES,
        features=ctx.settings.features,
        seconds=seconds,
    ):
        return None
    return cold_start_embeddings(ctx, table, seconds=seconds)[0]


def pool_outputs(ctx: Context, model: str, table: pd.DataFrame) -> "tuple[ModelCard, np.ndarray]":
    """The card of the champion, and its outputs for samples that wait for a label."""
    loaded = load_version(ctx, model)
    return loaded.card, _scored(ctx, loaded, table).outputs


def _scored(ctx: Context, loaded: "LoadedModel", table: pd.DataFrame) -> "ScoredTable":
    """The model's predictions for a table: from the cache, from this process, or the cluster."""
    from models.scoring.score_pool import feature_cache, score_table

    show = progress(f"Scoring the pool with {loaded.version}")
    features = ctx.workspace.scores / FEATURES
    with feature_cache(loaded.network, features, loaded.card.image_size) as cache:
        _forget_others(ctx.workspace.scores, loaded.version, cache.folder.name)
        served = cache_served(ctx, loaded, cache, table)
        if ctx.settings.ray:
            _score_on_ray(ctx, loaded, table, cache, show)
        scored = score_table(
            loaded.network,
            table,
            ctx.workspace.shards,
            loaded.card.image_size,
            cache,
            precision="auto" if len(table) >= BF16_TRIAL_ROWS else "fp32",
            threads=ctx.settings.threads,
            name=loaded.version,
            on_progress=show,
        )
    show(1, 1)
    known = len(table) - scored.new - served
    print(
        f"{loaded.version}: {scored.new} images scored, {served} scored when served, {known} known"
    )
    return scored


def _score_on_ray(
    ctx: Context,
    loaded: "LoadedModel",
    table: pd.DataFrame,
    cache: "ScoreCache",
    show: Callable[[float, float], None],
) -> None:
    """Let the cluster score the samples that are not in the cache."""
    from models.scoring.ray import predict_on_ray

    missing = table.iloc[cache.missing(table["sample_id"].tolist())]
    missing = missing.sort_values(["shard", "offset"])  # else a worker opens all shards for a part
    for start in range(0, len(missing), ROWS_PER_RAY_CALL):
        part = missing.iloc[start : start + ROWS_PER_RAY_CALL]
        predictions = predict_on_ray(
            loaded.network,
            part,
            ctx.workspace.shards,
            loaded.card.image_size,
            cluster=str(ctx.settings.ray),
            name=loaded.version,
            on_progress=show,
        )
        cache.append(part["sample_id"].tolist(), predictions.outputs, predictions.embeddings)


def _forget_others(scores: "Path", version: str, backbone: str) -> None:
    """Remove what models that are no longer in service predicted, and the features of theirs.

    A cache that another process has open stays: it began when that model was in service. So do
    features of published weights, which serve more than one model.
    """
    from models.pretraining.pretrained import PROJECTION
    from models.scoring.cache import forget_cache

    of_version = [version.replace(":", "-") + ending for ending in (EXACT, REFERENCE)]
    in_use = (*of_version, FEATURES, INDEX, backbone)
    of_backbones = [path.parent for path in (scores / FEATURES).glob("*/shape.json")]
    for folder in (*scores.iterdir(), *of_backbones):
        published = (folder / PROJECTION).is_file()
        if folder.is_dir() and folder.name not in in_use and not published:
            forget_cache(folder)
