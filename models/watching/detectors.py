"""Detectors of drift: served traffic against the predictions that the champion was judged on.

Detectors are built from arrays for each check; only their numbers are stored.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from models.watching import DETECTORS
from models.watching.signals import (
    Action,
    Decision,
    Detector,
    Family,
    Shift,
    Signal,
    WatchPolicy,
    Window,
)

if TYPE_CHECKING:
    from models.scoring.predict import Predictions

REFERENCE_TIMES = 5  # reference rows, in windows: more add cost and hardly any power


def signals(
    reference: "Predictions",
    window: "Predictions",
    policy: WatchPolicy,
    *,
    detectors: Mapping[str, Detector] = DETECTORS,
    states: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> list[Signal]:
    """The signals of the policy's detectors; one that is UNKNOWN where a test would mean nothing.

    `reference` holds rows the champion was not trained on. Repeated rows count once. The same
    arrays and seed give the same signals.
    """
    doubt = _mismatch(reference, window)
    doubt = doubt or _doubt(window, "window", policy) or _doubt(reference, "reference", policy)
    if doubt:
        return [_cannot_tell(name, len(window.outputs), doubt) for name in policy.detectors]
    rng = np.random.default_rng(seed)
    current = _subsample(_distinct(window), policy.window, rng)
    past = _subsample(_distinct(reference), policy.window * REFERENCE_TIMES, rng)
    width = window.outputs.shape[1]
    before, now = (Window.of(rows[:, :width], rows[:, width:]) for rows in (past, current))
    of_detectors = [
        detectors[name](before, now, (states or {}).get(name, {}), policy=policy, rng=rng)
        for name in policy.detectors
    ]
    return [signal for measured, _ in of_detectors for signal in measured]


def decide(signals: Sequence[Signal], policy: WatchPolicy) -> Decision:
    """LABEL_SERVED on any drift; else CANNOT_TELL when a signal is UNKNOWN; else NONE."""
    drift = [signal for signal in signals if signal.outcome == Shift.DRIFT]
    unsure = [one for one in signals if one.outcome == Shift.UNKNOWN and one.weight > 0]
    details = "; ".join(f"{signal.name}: {signal.meaning}" for signal in drift or unsure or signals)
    if drift:
        budget = policy.checks_planned / policy.alarms_per_quarter
        chance = f"by chance at most once in {budget:,.0f} checks"
        reason = f"The traffic has drifted ({chance}). {details}."
        return Decision(Action.LABEL_SERVED, reason)
    if unsure or not signals:
        reason = f"Cannot tell. {details or 'There are no signals'}."
        return Decision(Action.CANNOT_TELL, reason)
    return Decision(Action.NONE, f"No drift. {details}.")


def _cannot_tell(name: str, rows: int, why: str) -> Signal:
    return Signal(name, Family.INPUTS, Shift.UNKNOWN, None, None, 0.0, 0.0, None, rows, rows, why)


def _mismatch(reference: "Predictions", window: "Predictions") -> str | None:
    """The reason why the two have incomparable columns; None when they match."""
    for view in ("outputs", "embeddings"):
        expected, width = (getattr(each, view).shape[1] for each in (reference, window))
        if expected != width:
            return f"{view} have {width} columns in the window and {expected} in the reference"
    return None


def _doubt(rows: "Predictions", which: str, policy: WatchPolicy) -> str | None:
    """The reason why a test on these rows would be meaningless: NaN in one row hides any shift."""
    table = np.hstack([rows.outputs, rows.embeddings])
    broken = int((~np.isfinite(table).all(axis=1)).sum())
    if broken:
        return f"{broken} of {len(table)} rows of the {which} not finite"
    distinct, times = np.unique(table, axis=0, return_counts=True)
    if 2 * times.max(initial=0) > len(table) >= policy.min_rows:
        return f"one row makes up {times.max()} of {len(table)} rows of the {which}"
    if len(distinct) < policy.min_rows:
        return f"{len(distinct)} different rows in the {which}, {policy.min_rows} are needed"
    return None


def _distinct(rows: "Predictions") -> np.ndarray:
    """Outputs and embeddings side by side, each different row once, sorted."""
    return np.unique(np.hstack([rows.outputs, rows.embeddings]), axis=0)


def _subsample(rows: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    if len(rows) <= size:
        return rows
    return rows[rng.choice(len(rows), size, replace=False)]
