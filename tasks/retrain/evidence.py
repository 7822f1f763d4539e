"""What a verdict rests on beside the answers to the audit rows: corrupted images, and speed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tasks.context import Context
from tasks.corrupted import corrupted_predictions

if TYPE_CHECKING:
    from models.judging.speed import Speed
    from models.registry.model_store import LoadedModel


def corrupted_outputs(
    ctx: Context, loaded: "LoadedModel", rows: pd.DataFrame
) -> dict[str, np.ndarray]:
    """The outputs of the model for the rows under each kind of corruption, in their order."""
    made = corrupted_predictions(ctx, loaded, rows)
    return {kind: predictions.outputs for kind, predictions in made.items()}


def speeds(ctx: Context, models: "Mapping[str, LoadedModel]") -> "dict[str, Speed]":
    """The speed of each model with the runtime that serves it on this machine, and its size."""
    from models.judging.speed import Predictor, measure_speed, size_mb
    from models.runtimes.loading import eager

    def served(loaded: "LoadedModel") -> Predictor:
        runtime = loaded.runtime or eager(loaded, threads=ctx.settings.threads)
        side, size = loaded.card.image_size, size_mb(loaded.network)
        return Predictor(runtime.predict, side, size, runtime.name)

    return measure_speed({name: served(loaded) for name, loaded in models.items()})
