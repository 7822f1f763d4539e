"""Predictions that were stored with a model, and the network for the rows that were not."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.scoring.cache import ScoreCache
from models.scoring.predict import Predictions
from models.scoring.score_pool import score_table

if TYPE_CHECKING:
    from models.registry.model_store import LoadedModel


def predict_missing(
    loaded: "LoadedModel",
    table: pd.DataFrame,
    shards: Path,
    cache: ScoreCache,
    *,
    threads: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """The predictions for the rows of `table`, in its order.

    What was stored when the model was saved (its validation and test rows) is taken from there:
    the same weights and the same image, known by its sample id, have the same prediction. Torch
    made it: where another runtime serves the model, that one predicts these rows, too.
    """
    compute = loaded.runtime.predict if loaded.runtime else None
    ids = loaded.reference_ids if compute is None else ()
    stored = pd.Index(ids, dtype=object).get_indexer(pd.Index(table["sample_id"]))
    missing = np.flatnonzero(stored < 0)
    new = score_table(
        loaded.network,
        table.iloc[missing],
        shards,
        loaded.card.image_size,
        cache,
        precision="fp32",
        threads=threads,
        name=loaded.version,
        on_progress=on_progress,
        compute=compute,
    )
    outputs = np.empty((len(table), loaded.network.output_width), np.float32)
    embeddings = np.empty((len(table), loaded.network.width), np.float32)
    outputs[missing], embeddings[missing] = new.outputs, new.embeddings
    known = stored >= 0
    outputs[known] = loaded.reference.outputs[stored[known]]
    embeddings[known] = loaded.reference.embeddings[stored[known]]
    return Predictions(outputs, embeddings)
