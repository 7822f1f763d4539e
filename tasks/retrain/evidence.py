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


def speeds(models: "Mapping[str, LoadedModel]") -> "dict[str, Speed]":
    """The speed of each model on this machine, measured in turns, and the size of its weights."""
    from models.judging.speed import measure_speed

    return measure_speed(
        {name: (loaded.network, loaded.card.image_size) for name, loaded in models.items()}
    )
