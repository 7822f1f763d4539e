"""What the champion sees in the pool: probabilities and embeddings, as strategies need them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labeling.pool import Pool
from tasks.house import House
from tasks.pictures import progress

if TYPE_CHECKING:
    from models.model_store import LoadedModel
    from models.predict import Predictions


@dataclass(frozen=True)
class Sight:
    """What is seen of the pool, and what the model says of everybody who may be asked."""

    pool: Pool
    classes: list[str]
    guesses: pd.DataFrame  # sample_id, guess, confidence, guess_model, probs


def look(
    place: House, pool: pd.DataFrame, gold: pd.DataFrame, spoken_for: pd.DataFrame, model: str
) -> Sight:
    """The champion's view of the pool, of the gold that is mixed in, and of what has a label."""
    from models.model_store import load_model

    show = progress(f"Scoring the pool with {model}")
    loaded = load_model(place.engine, place.workspace.bento_home, model)
    everybody = pd.concat([pool, gold, spoken_for], ignore_index=True)
    scored = _score(place, loaded, everybody, show)
    show(1, 1)
    classes = list(loaded.card.classes)
    asked = len(pool) + len(gold)
    numbers = pd.Index(classes).get_indexer(pd.Index(spoken_for["label"]))  # -1: not known yet
    seen = Pool(
        probs=scored.probs[: len(pool)],
        embeddings=scored.embeddings[: len(pool)],
        labelled=scored.embeddings[asked:],
        labels=numbers,
    )
    names = everybody["sample_id"][:asked]
    return Sight(seen, classes, _guesses(names, scored.probs[:asked], classes, model))


def _score(
    place: House,
    loaded: "LoadedModel",
    table: pd.DataFrame,
    show: Callable[[float, float], None],
) -> "Predictions":
    """What the model says of a table: by this process, or by the cluster that is set."""
    from models.predict import predict_table
    from models.spread import predict_spread

    shards, size = place.workspace.shards, loaded.card.image_size
    if place.settings.ray:
        return predict_spread(
            loaded.network,
            table,
            shards,
            size,
            cluster=place.settings.ray,
            name=loaded.version,
            on_progress=show,
        )
    return predict_table(
        loaded.network,
        table,
        shards,
        size,
        threads=place.settings.threads,
        name=loaded.version,
        on_progress=show,
    )


def _guesses(
    sample_ids: pd.Series, probs: np.ndarray, classes: list[str], model: str
) -> pd.DataFrame:
    """What the model says of each sample, as assignments keep it."""
    told = [dict(zip(classes, np.round(row, 5).tolist(), strict=True)) for row in probs]
    return pd.DataFrame(
        {
            "sample_id": sample_ids,
            "guess": [classes[best] for best in probs.argmax(axis=1)],
            "confidence": probs.max(axis=1),
            "guess_model": model,
            "probs": [json.dumps(row) for row in told],
        }
    )
