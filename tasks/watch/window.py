"""The window of a check: rows drawn evenly from all traffic since the last one, sound ones."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from core.image_statistics import unpacked
from models.serving.traffic_window import NewTraffic, draw_rows
from models.watching.signals import Window
from tasks.context import Context
from tasks.predictions import served_predictions

if TYPE_CHECKING:
    import pandas as pd

    from models.registry.model_store import LoadedModel


@dataclass(frozen=True)
class WatchedTraffic:
    """A window and the served predictions that its rows are: row i of both is the same."""

    new: NewTraffic
    window: Window
    rows: "pd.DataFrame" = field(repr=False)


def draw_window(
    ctx: Context, loaded: "LoadedModel", traffic: NewTraffic, limit: int
) -> WatchedTraffic:
    """The window of a check, of at most `limit` rows."""
    return WatchedTraffic(traffic, *window_of(ctx, loaded, drawn_rows(ctx, traffic, limit)))


def drawn_rows(ctx: Context, traffic: NewTraffic, limit: int) -> "pd.DataFrame":
    """At most `limit` rows, drawn evenly; the same traffic gives the same rows."""
    rng = np.random.default_rng([traffic.after_seq, traffic.last_seq])
    with ctx.engine.connect() as connection:
        return draw_rows(connection, traffic, limit, rng)


def window_of(
    ctx: Context, loaded: "LoadedModel", rows: "pd.DataFrame"
) -> tuple[Window, "pd.DataFrame"]:
    """The window of served rows and its rows, without the broken ones, which are counted.

    Rows that another model answered are predicted by this one, from the bytes received.
    """
    of_other = rows["model"] != loaded.version
    rows = rows.assign(embedding=rows["embedding"].where(~of_other, None))
    sound = rows[of_other | _readable(loaded, rows)].reset_index(drop=True)
    predictions = served_predictions(ctx, loaded, sound)
    window = Window.of(
        predictions.outputs,
        predictions.embeddings,
        unpacked(sound["statistics"].tolist()) if "statistics" in sound else None,
        groups_of(sound["sample_id"].tolist()),
        sources=_sources(sound),
    )
    finite = np.isfinite(predictions.outputs).all(1) & np.isfinite(predictions.embeddings).all(1)
    sound = sound[finite].reset_index(drop=True)
    return replace(window, broken=len(rows) - len(sound)), sound


def groups_of(sample_ids: list[str]) -> np.ndarray:
    """The group of each row: one image again is in the same."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(name, len(first)) for name in sample_ids], int)


def _readable(loaded: "LoadedModel", rows: "pd.DataFrame") -> np.ndarray:
    """Which rows hold as many finite probabilities as the model has outputs, and an embedding."""
    width, size = loaded.network.output_width, loaded.network.width * 2
    return np.array(
        [
            is_row_of_numbers(probabilities, width)
            and (embedding is None or len(cast(bytes, embedding)) == size)
            for probabilities, embedding in zip(
                rows["probabilities"], rows["embedding"], strict=True
            )
        ],
        bool,
    )


def is_row_of_numbers(values: object, width: int) -> bool:
    """Whether these are as many finite numbers."""
    if not isinstance(values, list) or len(values) != width:
        return False
    return all(isinstance(one, int | float) and np.isfinite(one) for one in values)


def _sources(rows: "pd.DataFrame") -> np.ndarray:
    named = rows.get("source")
    if named is None:
        return np.full(len(rows), "", object)
    return named.fillna("").to_numpy(object)
