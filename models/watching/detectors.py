"""Detectors of drift: served traffic against the predictions that the champion was judged on.

Every detector compares every view of a window with the same view of the reference: the views of
the label kind (for classification the class probabilities) and the embeddings. Detectors are built
from arrays for each check; only their numbers are stored.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.kinds import DEFAULT, KINDS, Kind
from models.watching import DETECTORS
from models.watching.signals import Action, Decision, Detector, Shift, Signal, WatchPolicy

if TYPE_CHECKING:
    from models.scoring.predict import Predictions

EMBEDDINGS = "embeddings"  # in addition to the views of the label kind
COMPONENTS = 16  # of the embeddings: 8 missed noise that 16 detected, 32 hardly more
REFERENCE_TIMES = 5  # reference rows, in windows: more add cost and hardly any power


def signals(
    reference: "Predictions",
    window: "Predictions",
    policy: WatchPolicy,
    *,
    kind: Kind = KINDS[DEFAULT],
    detectors: Mapping[str, Detector] = DETECTORS,
    seed: int = 0,
) -> list[Signal]:
    """One signal per detector and view; UNKNOWN where a p-value would be meaningless.

    `reference` holds rows the champion was not trained on. Repeated rows count once. The same
    arrays and seed give the same signals.
    """
    doubt = _mismatch(reference, window)
    doubt = doubt or _doubt(window, "window", policy) or _doubt(reference, "reference", policy)
    views = (*kind.views(window.outputs), EMBEDDINGS)
    names = {(name, view): f"{name}-{view}" for name in detectors for view in views}
    if doubt:
        return [_cannot_tell(name, len(window.outputs), doubt) for name in names.values()]
    rng = np.random.default_rng(seed)
    current = _subsample(_distinct(window), policy.window, rng)
    past = _subsample(_distinct(reference), policy.window * REFERENCE_TIMES, rng)
    width = window.outputs.shape[1]
    past_views, current_views = kind.views(past[:, :width]), kind.views(current[:, :width])
    pairs = {view: (past_views[view], rows) for view, rows in current_views.items()}
    pairs[EMBEDDINGS] = _components(past[:, width:], current[:, width:])
    threshold = policy.false_alarms / len(names)
    return [
        detectors[detector](name, *pairs[view], threshold=threshold, policy=policy)
        for (detector, view), name in names.items()
    ]


def decide(signals: Sequence[Signal], policy: WatchPolicy) -> Decision:
    """LABEL_SERVED on any drift; else CANNOT_TELL when a signal is UNKNOWN; else NONE."""
    drift = [signal for signal in signals if signal.outcome == Shift.DRIFT]
    unsure = [signal for signal in signals if signal.outcome == Shift.UNKNOWN]
    details = "; ".join(f"{signal.name}: {signal.detail}" for signal in drift or unsure or signals)
    if drift:
        chance = f"by chance at most once in {1 / policy.false_alarms:,.0f} checks"
        reason = f"The traffic has drifted ({chance}). {details}."
        return Decision(Action.LABEL_SERVED, reason)
    if unsure or not signals:
        reason = f"Cannot tell. {details or 'There are no signals'}."
        return Decision(Action.CANNOT_TELL, reason)
    return Decision(Action.NONE, f"No drift. {details}.")


def _cannot_tell(name: str, rows: int, why: str) -> Signal:
    return Signal(name, Shift.UNKNOWN, None, None, None, rows, why)


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


def _components(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both projected on the principal axes of the two together.

    Axes of the reference alone fit it better than the window, the more so the wider the embedding:
    that would raise alarms without drift.
    """
    from sklearn.decomposition import PCA

    both = np.vstack([reference, window]).astype(np.float64)
    projected = PCA(min(COMPONENTS, *both.shape), random_state=0).fit_transform(both)
    return projected[: len(reference)], projected[len(reference) :]
