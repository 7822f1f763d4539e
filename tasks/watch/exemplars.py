"""The served images that moved most, for people: one of each group of a window."""

from collections.abc import Sequence

import numpy as np

from models.watching.signals import Signal
from tasks.watch.window import WatchedTraffic

SHOWN = 12  # exemplars of a decision: a person looks at a dozen


def exemplars_of(
    traffic: WatchedTraffic, signals: Sequence[Signal], ranking: Sequence[str]
) -> list[str]:
    """The predictions that moved most by the strongest signals, one of each group."""
    place = {name: number for number, name in enumerate(ranking)}
    ordered = sorted(signals, key=lambda one: place.get(one.name, len(place)))
    rows = [row for signal in ordered for row in signal.exemplars if row < len(traffic.rows)]
    first = _first_of_group(rows, traffic.window.groups)
    names = traffic.rows["prediction_id"].tolist()
    return [str(names[row]) for row in first[:SHOWN]]


def _first_of_group(rows: Sequence[int], groups: np.ndarray) -> list[int]:
    taken: dict[int, int] = {}
    for row in rows:
        taken.setdefault(int(groups[row]), int(row))
    return list(taken.values())
