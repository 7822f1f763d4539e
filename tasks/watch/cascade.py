"""A cascade under watch: front model and champion each answer a part of the traffic.

The champion's traffic is only what the front model left to it, harder than all, and the front
model's only what it is sure of. So each part is compared with the held-out rows that would fall to
the same model, and evidence begins anew when front model or threshold change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection

from models.registry.releases import Release, release_rows
from models.watching.signals import Window
from tasks.context import Context
from tasks.predictions import load_served, predict_with, served_predictions
from tasks.watch.window import WatchedTraffic

if TYPE_CHECKING:
    import pandas as pd

    from models.registry.model_store import LoadedModel

FOLLOWED_SECONDS = 5.0  # until every worker follows a release; what is served before is not tested


@dataclass(frozen=True)
class Division:
    """How traffic is divided now: by which front model, from what confidence, since when."""

    front: str | None = None
    threshold: float = 1.0
    since: str | None = None  # None: it was always so

    @property
    def as_json(self) -> dict[str, Any]:
        """What evidence was gathered under; nothing without a front model."""
        return {"cascade": [self.front, self.threshold]} if self.front else {}

    @property
    def suffix(self) -> str:
        """Names files that depend on the division."""
        return f"-{self.front.replace(':', '-')}-{self.threshold:g}" if self.front else ""


WHOLE = Division()  # one model answers everything, as ever


def division_of(connection: Connection) -> Division:
    """How the release in force divides the traffic."""
    front: str | None = None
    threshold: float | None = None
    since: str | None = None
    for row in release_rows(connection):
        if (row.front, row.front_threshold) != (front, threshold):
            front, threshold, since = row.front, row.front_threshold, row.released_at
    if since is None:
        return WHOLE
    followed = datetime.fromisoformat(since) + timedelta(seconds=FOLLOWED_SECONDS)
    return Division(front, threshold or 0.0, followed.isoformat(timespec="microseconds"))


def without(others: Mapping[str, int], current: Release | None) -> dict[str, int]:
    """The rows of models that are not in service: front model and challenger are."""
    beside = (current.front, current.challenger) if current else ()
    return {name: rows for name, rows in others.items() if name not in beside}


def falls_to(
    ctx: Context,
    division: Division,
    loaded: "LoadedModel",
    outputs: np.ndarray,
    rows: "pd.DataFrame | None",
) -> np.ndarray:
    """Which held-out rows of a model would be answered by it; `outputs` are its own of `rows`.

    All of them without a front model. A row whose image is not known is none.
    """
    if division.front is None:
        return np.ones(len(outputs), bool)
    if loaded.version == division.front:
        return _is_sure(loaded, outputs, division)
    mine = np.zeros(len(outputs), bool)
    if rows is not None and (known := rows["shard"].notna().to_numpy(bool)).any():
        front, predictions = predict_with(ctx, division.front, rows[known].reset_index())
        mine[known] = ~_is_sure(front, predictions.outputs, division)
    return mine


def served_falls_to(
    ctx: Context, division: Division, loaded: "LoadedModel", watched: WatchedTraffic
) -> Window:
    """The rows of served traffic that would now be answered by the model."""
    if division.front is None or not len(watched.rows):
        return watched.window
    if loaded.version == division.front:
        return watched.window.take(
            np.flatnonzero(_is_sure(loaded, watched.window.outputs, division))
        )
    front = load_served(ctx, division.front)
    of_other = watched.rows["model"] != front.version
    rows = watched.rows.assign(embedding=watched.rows["embedding"].where(~of_other, None))
    is_sure = _is_sure(front, served_predictions(ctx, front, rows).outputs, division)
    return watched.window.take(np.flatnonzero(~is_sure))


def _is_sure(front: "LoadedModel", outputs: np.ndarray, division: Division) -> np.ndarray:
    from models.serving.cascade import confidences

    card = front.card
    return confidences(outputs, card.label_kind, card.classes) >= division.threshold
