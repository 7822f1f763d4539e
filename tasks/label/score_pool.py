"""What is seen of the pool: probabilities and embeddings, as strategies need them, and guesses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labeling.batches.select import SelectionConfig
from labeling.strategies.pool import Pool
from tasks.context import Context
from tasks.predictions import EXACT, cache_served, load_version
from tasks.report.artifacts import progress

if TYPE_CHECKING:
    from pathlib import Path

    from models.registry.model_store import LoadedModel
    from models.scoring.cache import ScoreCache
    from models.scoring.score_pool import Scored

FEATURES = "features"  # folder of what is seen before any model
NO_SAMPLES = pd.Index([], dtype=object)
N_MEMBERS = 10  # opinions of a model, for strategies that compare them
BF16_TRIAL_ROWS = 10_000  # images from which on a faster number format is tried out
ROWS_PER_RAY_CALL = 200_000  # images that a cluster is given before what it found is kept


@dataclass(frozen=True)
class PoolPredictions:
    """What is seen of the pool, and what a model says of everybody who may be asked."""

    pool: Pool
    classes: list[str]
    asked: pd.Index  # sample ids, of pool and gold
    probs: np.ndarray  # of these, by the model
    model: str

    def guesses(self, sample_ids: Sequence[str]) -> pd.DataFrame:
        """What the model says of these samples, as assignments keep it."""
        probs = self.probs[self.asked.get_indexer(pd.Index(sample_ids))]
        told = [dict(zip(self.classes, np.round(row, 5).tolist(), strict=True)) for row in probs]
        return pd.DataFrame(
            {
                "sample_id": pd.Series(list(sample_ids), dtype=object),
                "pre_annotation": [self.classes[best] for best in probs.argmax(axis=1)],
                "confidence": probs.max(axis=1),
                "pre_annotation_model": self.model,
                "probs": told,
            }
        )


def predict_pool(
    ctx: Context,
    pool: pd.DataFrame,
    gold: pd.DataFrame,
    spoken_for: pd.DataFrame,
    model: str,
    selection: SelectionConfig,
) -> PoolPredictions:
    """The champion's view of the pool, of the gold that is mixed in, and of what has a label."""
    from models.scoring.ensemble import ensemble_predictions

    loaded = load_version(ctx, model)
    scored = _scored(ctx, loaded, pd.concat([pool, gold, spoken_for], ignore_index=True))
    classes, asked = list(loaded.card.classes), len(pool) + len(gold)
    labelled, numbers = scored.embeddings[asked:], _numbers(spoken_for, classes)
    embeddings = scored.embeddings[: len(pool)]
    opinions = None
    if selection.strategy == "bald":
        opinions = ensemble_predictions(
            loaded.network,
            embeddings,
            n_members=N_MEMBERS,
            seed=0,
            labelled=labelled,
            labels=numbers,
            folder=ctx.workspace.scores,
        )
    seen = Pool(scored.outputs[: len(pool)], embeddings, opinions, labelled, numbers)
    names = pd.concat([pool["sample_id"], gold["sample_id"]], ignore_index=True)
    return PoolPredictions(seen, classes, pd.Index(names), scored.outputs[:asked], model)


def embed_cold_pool(
    ctx: Context, pool: pd.DataFrame, spoken_for: pd.DataFrame, selection: SelectionConfig
) -> PoolPredictions:
    """What can be seen before there is a model; nothing, where chance decides anyway."""
    classes = ctx.workspace.class_names
    if selection.strategy == "random" or pool.empty:
        return PoolPredictions(Pool(), classes, NO_SAMPLES, np.empty((0, len(classes))), FEATURES)
    everybody = pd.concat([pool, spoken_for], ignore_index=True)
    found = cold_start_embeddings(ctx, everybody, seconds=selection.feature_seconds)
    seen = Pool(
        embeddings=found[: len(pool)],
        labelled=found[len(pool) :],
        labels=_numbers(spoken_for, classes),
    )
    return PoolPredictions(seen, classes, NO_SAMPLES, np.empty((0, len(classes))), FEATURES)


def cold_start_embeddings(ctx: Context, table: pd.DataFrame, *, seconds: float) -> np.ndarray:
    """Embeddings of these samples by a network that no label has touched; whose, is printed."""
    from models.pretraining import cold_start as before

    show = progress("Looking at the pool before there is a model")
    found, source = before.cold_start_embeddings(
        table,
        ctx.workspace.shards,
        ctx.workspace.image_size,
        folder=ctx.workspace.scores / FEATURES,
        seconds=seconds,
        threads=ctx.settings.threads,
        on_progress=show,
    )
    show(1, 1)
    print(f"embeddings: {source}")
    return found


def embedder(ctx: Context, model: str | None) -> Callable[[pd.DataFrame], tuple[np.ndarray, str]]:
    """What gives the embeddings of samples, by the champion or else by what no label touched."""

    def embedded(table: pd.DataFrame) -> tuple[np.ndarray, str]:
        if model is None:
            return cold_start_embeddings(
                ctx, table, seconds=SelectionConfig.feature_seconds
            ), FEATURES
        loaded = load_version(ctx, model)
        return _scored(ctx, loaded, table).embeddings, model

    return embedded


def _scored(ctx: Context, loaded: "LoadedModel", table: pd.DataFrame) -> "Scored":
    """What the model says of a table: kept from before, by this process, or by the cluster."""
    from models.scoring.score_pool import cache_for, score_table

    show = progress(f"Scoring the pool with {loaded.version}")
    folder = ctx.workspace.scores / loaded.version.replace(":", "-")
    _forget_others(folder)
    with cache_for(loaded.network, folder) as cache:
        served = cache_served(ctx, loaded, cache, table)
        if ctx.settings.ray:
            _spread(ctx, loaded, table, cache, show)
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


def _spread(
    ctx: Context,
    loaded: "LoadedModel",
    table: pd.DataFrame,
    cache: "ScoreCache",
    show: Callable[[float, float], None],
) -> None:
    """Let the cluster score what is not known yet."""
    from models.scoring.ray import predict_on_ray

    missing = table.iloc[cache.missing(table["sample_id"].tolist())]
    missing = missing.sort_values(["shard", "offset"])  # else a worker opens all shards for a part
    for start in range(0, len(missing), ROWS_PER_RAY_CALL):
        part = missing.iloc[start : start + ROWS_PER_RAY_CALL]
        found = predict_on_ray(
            loaded.network,
            part,
            ctx.workspace.shards,
            loaded.card.image_size,
            cluster=str(ctx.settings.ray),
            name=loaded.version,
            on_progress=show,
        )
        cache.append(part["sample_id"].tolist(), found.outputs, found.embeddings)


def _forget_others(kept: "Path") -> None:
    """Remove what models said that are in service no more: a new one looks at all anew.

    What another process has open stays: it began when that model was in service.
    """
    from models.scoring.cache import forget_cache

    for folder in kept.parent.iterdir() if kept.parent.is_dir() else ():
        if folder.is_dir() and folder.name not in (kept.name, f"{kept.name}{EXACT}", FEATURES):
            forget_cache(folder)


def _numbers(spoken_for: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """The number of each label, -1 where it is not known yet."""
    return pd.Index(classes).get_indexer(pd.Index(spoken_for["label"]))
