"""One more score: how far a row lies in the direction in which traffic has differed so far.

A shift of the images moves many scores a little; together, in one direction, they tell more. The
direction goes from a third of the reference, which the score is not counted on, to the traffic of
earlier windows, so clean rows of reference and traffic lie along it alike. It is learned anew after
1, 2, 4, 8, ... windows, and compared with the reference alone each time: traffic that differed from
its first window on, which is a part of the past of the other scores, shows here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.watching.class_mix import label_shares
from models.watching.groups import group_weights
from models.watching.scores import CELLS, Cells, Scores, Stratum
from models.watching.signals import Window
from models.watching.urns import ALIKE, TABLES, Urn, play, urn_of

NAME = "direction of the traffic"
LEAST_THIRD = 30  # rows, to begin a direction at
CLEAR = 1.5  # standard errors: what moved less is no part of the direction
FORWARD = (0.5, 1.0, 2.0, 4.0)  # shifts that are bet on: which way traffic moved is known
MOST_CORRELATION = 0.02  # by classes of which too little is known
FARTHEST = 5.0  # deviations of a row, in one feature


@dataclass(frozen=True)
class Features:
    """What a direction is made of, on the rows of the reference."""

    scores: Scores
    middle: np.ndarray  # (features,): mean of the third
    spread: np.ndarray
    rows: np.ndarray  # (rows, features), scaled
    counted: np.ndarray  # (rows,): those that are not in the third
    expected: np.ndarray  # (classes, features): mean of the third
    parts: Mapping[str, np.ndarray]
    shares: np.ndarray  # (rows, classes), weighed by group

    @classmethod
    def of(cls, reference: Window, scores: Scores) -> "Features":
        """The features of a reference, of which the scores were fitted."""
        bare = _bare(scores, reference)
        third = bare[scores.third]
        known = np.isfinite(third)
        sizes = np.maximum(known.sum(axis=0), 1)
        middle = np.where(known, third, 0.0).sum(axis=0) / sizes
        spread = np.sqrt((np.where(known, third - middle, 0.0) ** 2).sum(axis=0) / sizes)
        spread = np.maximum(spread, 1e-3 * np.maximum(np.abs(middle), 1))
        rows = _scaled(bare, middle, spread)
        shares = label_shares(reference.outputs, reference.labels)
        of_class = shares[scores.third]
        pooled = rows[scores.third].mean(axis=0) if len(third) else np.zeros(rows.shape[1])
        expected = of_class.T @ rows[scores.third] + ALIKE * pooled
        expected /= of_class.sum(axis=0)[:, None] + ALIKE
        counted = np.ones(len(rows), bool)
        counted[scores.third] = False
        drifted = np.zeros(len(rows), bool) if reference.known is None else reference.known
        drifted = drifted & bool((~drifted).any())
        parts = {"base": ~drifted, "known": drifted}
        weighed = shares * group_weights(reference.groups)[:, None]
        return cls(scores, middle, spread, rows, counted, expected, parts, weighed)

    def of_window(self, window: Window) -> np.ndarray:
        """The features of each row."""
        return _scaled(_bare(self.scores, window), self.middle, self.spread)

    def along(self, direction: np.ndarray) -> tuple[Cells, dict[str, Stratum]]:
        """The cells of a direction, and where the reference lies in them."""
        table = (self.rows @ direction)[:, None].astype(np.float32)
        base = self.counted & self.parts["base"]
        cells = Cells.of(np.where(base[:, None], table, np.nan))
        return cells, cells.strata(table, self.counted[:, None], self.parts, self.shares)

    def learned(
        self, state: Mapping[str, Any], rows: np.ndarray, weights: np.ndarray, mix: np.ndarray
    ) -> dict[str, Any]:
        """The state after a window of these rows; where `fresh`, it has another direction."""
        before = np.array(state.get("moved", np.zeros(rows.shape[1])))
        moved = before + weights @ rows - weights.sum() * (mix @ self.expected)
        count = float(state.get("rows", 0.0)) + float(weights.sum())
        windows, until = int(state.get("windows", 0)) + 1, int(state.get("until", 1))
        new = {"moved": np.round(moved, 3).tolist(), "rows": round(count, 3), "windows": windows}
        if windows < until or len(self.scores.third) < LEAST_THIRD:
            return {**new, "until": until, "direction": state.get("direction"), "fresh": False}
        mean = moved / max(count, 1.0)
        error = np.sqrt(1 / max(count, 1.0) + 1 / len(self.scores.third))
        direction = np.round(np.where(np.abs(mean) > CLEAR * error, mean, 0.0), 4)
        way = direction.tolist() if direction.any() else None
        return {**new, "until": 2 * windows, "direction": way, "fresh": True}


def _emptied(learned: Mapping[str, Any]) -> dict[str, Any]:
    """What bets have learned, without the rows that they learned it of."""
    tables = {name: np.zeros_like(learned[name]).tolist() for name in TABLES}
    return {**learned, **tables}


def _bare(scores: Scores, window: Window) -> np.ndarray:
    placed = (window.embeddings - scores.centre) @ scores.axes
    outputs = np.log(np.clip(np.asarray(window.outputs, np.float64), 1e-4, 1))
    return np.column_stack([placed, window.statistics, outputs]).astype(np.float64)


def _scaled(bare: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.clip((bare - middle) / spread, -FARTHEST, FARTHEST))


@dataclass(frozen=True)
class Along:
    """What a window says along the direction; `levels` and `urns` by share of a known drift."""

    levels: dict[str, np.ndarray]  # (bets, 1); none before there is a direction
    urns: dict[str, Urn]
    counts: np.ndarray  # (1, cells)
    cells: np.ndarray  # (rows, 1)
    state: dict[str, Any]


def follow(
    features: Features,
    state: Mapping[str, Any],
    window: Window,
    weights: np.ndarray,
    mix: np.ndarray,
    shares: Mapping[str, float],
) -> Along:
    """The bets on a window along the direction, and the state after it."""
    rows = features.of_window(window)
    levels, learned, urns = dict[str, np.ndarray](), dict[str, Any](), dict[str, Urn]()
    counts, places = np.zeros((1, CELLS)), np.full((len(window), 1), -1)
    if state.get("direction"):
        direction = np.array(state["direction"])
        cells, strata = features.along(direction)
        counts, places = cells.counted((rows @ direction)[:, None].astype(np.float32), weights)
        for name, share in shares.items():
            urn = urn_of(strata, mix, share)
            urns[name] = replace(urn, correlation=min(urn.correlation, MOST_CORRELATION))
            before, accumulated = (state.get(one, {}).get(name) for one in ("learned", "levels"))
            levels[name], learned[name] = play(urns[name], counts, before, accumulated, FORWARD)
    new = features.learned(state, rows, weights, mix)
    if new.pop("fresh"):  # what is known of windows is how much they vary by themselves
        new["learned"] = {name: _emptied(one) for name, one in learned.items()}
    else:
        new["learned"] = learned
        new["levels"] = {name: np.round(level, 3).tolist() for name, level in levels.items()}
    return Along(levels, urns, counts, places, new)
