"""What the champion sees in the pool: probabilities and embeddings, as strategies need them."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labeling.pool import Pool
from tasks.house import House
from tasks.pictures import progress


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
    from models.predict import predict_table

    show = progress(f"Scoring the pool with {model}")
    loaded = load_model(place.engine, place.workspace.bento_home, model)
    everybody = pd.concat([pool, gold, spoken_for], ignore_index=True)
    scored = predict_table(
        loaded.network,
        everybody,
        place.workspace.shards,
        loaded.card.image_size,
        threads=place.settings.threads,
        on_progress=show,
    )
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
