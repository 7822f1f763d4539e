"""What a model says of corrupted copies of samples, each predicted once."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tasks.context import Context
from tasks.predictions import exact_cache

if TYPE_CHECKING:
    from models.registry.model_store import LoadedModel
    from models.scoring.predict import Predictions

PREFIX = "corrupted-1"  # another number where the corruptions or their seed change


def corrupted_predictions(
    ctx: Context, loaded: "LoadedModel", rows: pd.DataFrame
) -> "dict[str, Predictions]":
    """The predictions of the model for the rows under each kind of corruption, in their order.

    At most the first `MOST_ROWS` rows. They are stored beside the model's other predictions: a
    champion predicts them once, however many challengers it meets.
    """
    import torch

    from models.judging.corruptions import CORRUPTIONS, MOST_ROWS, corrupted
    from models.network.images import open_images
    from models.scoring.predict import Predictions, predict

    rows = rows.head(MOST_ROWS)
    names = np.array(rows["sample_id"].tolist(), object)
    ids = {
        one: np.array([_corrupted_id(name, one) for name in names], object) for one in CORRUPTIONS
    }
    with exact_cache(ctx, loaded) as cache:
        missing = {one: cache.missing(named.tolist()) for one, named in ids.items()}
        if any(map(len, missing.values())):
            size, threads = loaded.card.image_size, ctx.settings.threads
            images = open_images(rows, ctx.workspace.shards, size, threads=threads)
            pictures = images.take(np.arange(len(rows))).permute(0, 2, 3, 1).numpy()
            parts = []
            for one, absent in missing.items():
                made = corrupted(pictures[absent], one, names[absent].tolist())
                batch = torch.from_numpy(made).permute(0, 3, 1, 2)
                if loaded.runtime is not None:
                    parts.append(loaded.runtime.predict(batch))
                    continue
                parts.append(predict(loaded.network, batch, threads=threads, name=loaded.version))
            new = Predictions.joined(parts)
            added = [name for one, absent in missing.items() for name in ids[one][absent]]
            cache.append(added, new.outputs, new.embeddings)
        places = {one: cache.rows_of(named.tolist()) for one, named in ids.items()}
        return {
            one: Predictions(np.array(cache.outputs[at]), np.array(cache.embeddings[at]))
            for one, at in places.items()
        }


def _corrupted_id(sample_id: str, kind: str) -> str:
    """The name of a corrupted image among samples, which are named by a SHA-256 too."""
    return hashlib.sha256(f"{PREFIX}:{kind}:{sample_id}".encode()).hexdigest()
