"""Predictions of a model for samples: stored ones, and the network for the others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd

from core.locks import LockBusy
from models.serving import prediction_store
from tasks.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.registry.model_store import LoadedModel
    from models.scoring.cache import ScoreCache
    from models.scoring.predict import Predictions


REFERENCE = "-reference"  # ends the name of a folder of the statistics of a model's reference
EXACT = "-exact"  # ends the name of a cache of predictions in fp32; pools may be scored in bf16


def load_version(ctx: Context, version: str) -> "LoadedModel":
    """A model version of the workspace, every file of it checked."""
    from models.registry.model_store import load_model

    return load_model(ctx.engine, ctx.workspace.bento_home, version)


def load_served(ctx: Context, version: str) -> "LoadedModel":
    """A model version that predicts with the runtime which serves it on this machine."""
    from models.runtimes.loading import served_as_chosen
    from models.runtimes.policy import Policy

    loaded = load_version(ctx, version)
    runtime = served_as_chosen(
        loaded,
        ctx.workspace.runtimes,
        policy=Policy(ctx.settings.runtime),
        threads=ctx.settings.threads,
    )
    return replace(loaded, runtime=runtime)


def predict_with(
    ctx: Context,
    version: str,
    rows: pd.DataFrame,
    *,
    on_progress: "Callable[[int, int], None] | None" = None,
) -> "tuple[LoadedModel, Predictions]":
    """The model and its predictions for `rows`, in their order.

    They are those of the runtime that serves the model. Each row is computed once: not again in a
    later call, and where torch serves the model not for rows whose predictions are stored with it.
    """
    from models.scoring.stored import predict_missing

    loaded = load_served(ctx, version)
    with exact_cache(ctx, loaded) as cache:
        predictions = predict_missing(
            loaded,
            rows,
            ctx.workspace.shards,
            cache,
            threads=ctx.settings.threads,
            on_progress=on_progress,
        )
    return loaded, predictions


@contextmanager
def exact_cache(ctx: Context, loaded: "LoadedModel") -> "Iterator[ScoreCache]":
    """The cache of the predictions of the model and its runtime, in fp32 where that is torch.

    An empty one while another process has it.
    """
    from models.scoring.score_pool import cache_for

    runtime = loaded.runtime.key if loaded.runtime else ""
    folder = ctx.workspace.scores / f"{loaded.version.replace(':', '-')}{EXACT}"
    with ExitStack() as stack:
        try:
            cache = cache_for(loaded.network, folder, runtime=runtime)
        except LockBusy:
            empty = Path(stack.enter_context(TemporaryDirectory()))
            cache = cache_for(loaded.network, empty, runtime=runtime)
        yield stack.enter_context(cache)


def served_predictions(ctx: Context, loaded: "LoadedModel", rows: pd.DataFrame) -> "Predictions":
    """The predictions of served `rows` (of `prediction_store.window`), in their order.

    They are as recorded; the network runs only for rows that older services recorded without an
    embedding.
    """
    import numpy as np

    network = loaded.network
    has, recorded = prediction_store.recorded_predictions(
        rows, outputs=network.output_width, width=network.width
    )
    outputs = np.empty((len(rows), network.output_width), np.float32)
    embeddings = np.empty((len(rows), network.width), np.float32)
    outputs[has], embeddings[has] = recorded.outputs, recorded.embeddings
    if not has.all():
        again = prediction_store.as_recorded(_predict_received(ctx, loaded, rows[~has]))
        outputs[~has], embeddings[~has] = again.outputs, again.embeddings
    return replace(recorded, outputs=outputs, embeddings=embeddings)


def cache_served(
    ctx: Context, loaded: "LoadedModel", cache: "ScoreCache", table: pd.DataFrame
) -> int:
    """Put what the service recorded of the samples of `table` into the cache; return how many."""
    names = table["sample_id"].tolist()
    missing = [names[row] for row in cache.missing(names)]
    rows = prediction_store.predictions_of(ctx.engine, loaded.version, missing)
    has, recorded = prediction_store.recorded_predictions(
        rows, outputs=loaded.network.output_width, width=loaded.network.width
    )
    cache.append(rows["sample_id"][has].tolist(), recorded.outputs, recorded.embeddings)
    return len(recorded)


def _predict_received(ctx: Context, loaded: "LoadedModel", rows: pd.DataFrame) -> "Predictions":
    """The predictions for the images of served rows, from the bytes that were received."""
    import torch

    from core.images import clean_image, decode_image
    from models.network.images import prepare
    from models.scoring.predict import predict

    received = (
        prediction_store.read_served_image(ctx.workspace.traffic, row) for row in rows.itertuples()
    )
    images = [
        prepare(decode_image(clean_image(one).content), loaded.card.image_size) for one in received
    ]
    if loaded.runtime is not None:
        return loaded.runtime.predict(torch.stack(images))
    return predict(
        loaded.network, torch.stack(images), threads=ctx.settings.threads, name=loaded.version
    )
