"""Whether served traffic still looks like what the champion was judged on.

Several views of a window, each against the same view of the reference: those of the label kind
(for classification the class probabilities) and the embeddings. Detectors are built anew from
arrays each time; nothing is stored but numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from core.configuration import configuration
from models.kinds import DEFAULT, KINDS, Kind

if TYPE_CHECKING:
    from models.scoring.predict import Predictions

EMBEDDINGS = "ks-embeddings"  # beside the views that the label kind gives
COMPONENTS = 16  # of the embeddings: 8 missed noise that 16 saw, 32 saw hardly more
REFERENCE_TIMES = 5  # more reference rows than this many windows add cost and hardly any power


class Shift(StrEnum):
    """What one measurement says about a difference between window and reference."""

    DRIFT = "drift"
    NONE = "no drift"
    UNKNOWN = "cannot tell"


class Action(StrEnum):
    """What is done about the signals of a window."""

    NONE = "none"
    LABEL_SERVED = "label-served"
    CANNOT_TELL = "cannot-tell"


@configuration("watch")
class WatchPolicy:
    """When a difference is drift.

    Bound: with traffic like the reference, a check says "drift" with a probability of at most
    `false_alarms` over both signals together (Bonferroni over signals and their columns). Checked
    every hour at 0.001 that is one false alarm in 1,000 hours, or on 2.4 % of days.
    The bound is a mean over references: one that is unlucky alarms oftener, so a shift should be
    seen in more than one window before it is believed to be large.
    """

    window: int = Field(  # more served rows are thinned to this, so that size is no news
        default=200, ge=2, description="served predictions tested at once"
    )
    min_rows: int = Field(  # below, only a landslide would show
        default=100, ge=2, description="different images on either side, at least"
    )
    false_alarms: float = Field(  # each costs annotators a round of labelling
        default=0.001, gt=0, le=0.5, description="probability of a false alarm in one check"
    )
    min_effect: float = Field(  # less than a tenth of the rows moved is not worth a round
        default=0.1, ge=0, lt=1, description="least KS distance that counts as drift"
    )

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.min_rows > self.window:
            raise ValueError(
                f"min_rows is {self.min_rows} with a window of {self.window}; "
                "choose from 2 to the window"
            )
        return self


@dataclass(frozen=True)
class Signal:
    """One measurement against its threshold; without one, `detail` says why it cannot tell."""

    name: str
    outcome: Shift
    statistic: float | None  # largest KS distance of a column
    p_value: float | None  # corrected for the number of columns
    threshold: float | None  # of p_value
    rows: int  # of the window, as tested
    detail: str


@dataclass(frozen=True)
class Decision:
    """What to do about the signals, and the sentence that says why."""

    action: Action
    reason: str


def signals(
    reference: "Predictions",
    window: "Predictions",
    policy: WatchPolicy,
    *,
    kind: Kind = KINDS[DEFAULT],
    seed: int = 0,
) -> list[Signal]:
    """One signal per view; "cannot tell" wherever a p-value would mean nothing.

    `reference` holds rows the champion did not train on. Repeated rows count once. The same
    arrays and seed give the same signals.
    """
    doubt = _mismatch(reference, window)
    doubt = doubt or _doubt(window, "window", policy) or _doubt(reference, "reference", policy)
    if doubt:
        names = (*kind.views(window.outputs), EMBEDDINGS)
        return [_cannot_tell(name, len(window.outputs), doubt) for name in names]
    rng = np.random.default_rng(seed)
    here = _thin(_different(window), policy.window, rng)
    there = _thin(_different(reference), policy.window * REFERENCE_TIMES, rng)
    width = window.outputs.shape[1]
    theirs, ours = kind.views(there[:, :width]), kind.views(here[:, :width])
    pairs = {name: (theirs[name], ours[name]) for name in ours}
    pairs[EMBEDDINGS] = _components(there[:, width:], here[:, width:])
    threshold = policy.false_alarms / len(pairs)
    return [
        _signal(name, *pair, threshold=threshold, min_effect=policy.min_effect)
        for name, pair in pairs.items()
    ]


def decide(signals: Sequence[Signal], policy: WatchPolicy) -> Decision:
    """Label served images on any drift; else say whether all signals could tell."""
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


def ks_test(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The p-value and the distance of a two-sample KS test on each column.

    The only call of Alibi Detect, whose licence does not cover every production use: to go
    without, put `scipy.stats.ks_2samp(..., method="asymp")` on each column here.
    """
    from alibi_detect.cd import KSDrift

    p_values, distances = KSDrift(reference).score(window)
    return np.asarray(p_values, float), np.asarray(distances, float)


def _signal(
    name: str, reference: np.ndarray, window: np.ndarray, *, threshold: float, min_effect: float
) -> Signal:
    p_values, distances = ks_test(reference, window)
    p_value = min(1.0, float(p_values.min()) * len(p_values))
    distance = float(distances.max())
    drift = p_value <= threshold and distance >= min_effect
    detail = (
        f"column {distances.argmax()} of {len(distances)} moved most, KS distance {distance:.3f} "
        f"(drift from {min_effect:g}), p {p_value:.2g} (drift up to {threshold:g}), "
        f"{len(window)} rows against {len(reference)}"
    )
    outcome = Shift.DRIFT if drift else Shift.NONE
    return Signal(name, outcome, distance, p_value, threshold, len(window), detail)


def _cannot_tell(name: str, rows: int, why: str) -> Signal:
    return Signal(name, Shift.UNKNOWN, None, None, None, rows, why)


def _mismatch(reference: "Predictions", window: "Predictions") -> str | None:
    """Why the two cannot be compared at all."""
    for view in ("outputs", "embeddings"):
        its_width, width = (getattr(each, view).shape[1] for each in (reference, window))
        if its_width != width:
            return f"{view} have {width} columns in the window and {its_width} in the reference"
    return None


def _doubt(rows: "Predictions", which: str, policy: WatchPolicy) -> str | None:
    """Why a test on these rows would mean nothing: NaN in one row hides any shift."""
    table = np.hstack([rows.outputs, rows.embeddings])
    strange = int((~np.isfinite(table).all(axis=1)).sum())
    if strange:
        return f"{strange} of {len(table)} rows of the {which} not finite"
    different, times = np.unique(table, axis=0, return_counts=True)
    if 2 * times.max(initial=0) > len(table) >= policy.min_rows:
        return f"one row makes up {times.max()} of {len(table)} rows of the {which}"
    if len(different) < policy.min_rows:
        return f"{len(different)} different rows in the {which}, {policy.min_rows} are needed"
    return None


def _different(rows: "Predictions") -> np.ndarray:
    """Outputs and embeddings side by side, each different row once, sorted."""
    return np.unique(np.hstack([rows.outputs, rows.embeddings]), axis=0)


def _thin(rows: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    if len(rows) <= size:
        return rows
    return rows[rng.choice(len(rows), size, replace=False)]


def _components(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both on the principal axes of the two together.

    Axes of the reference alone would fit it better than they fit the window, the more the wider
    the embedding: an alarm without drift.
    """
    from sklearn.decomposition import PCA

    both = np.vstack([reference, window]).astype(np.float64)
    turned = PCA(min(COMPONENTS, *both.shape), random_state=0).fit_transform(both)
    return turned[: len(reference)], turned[len(reference) :]
