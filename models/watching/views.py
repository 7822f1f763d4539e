"""What a two-sample test compares: one row of each group, by view, and the signal of its p-value.

A group of near-duplicates counts once on either side. Rows that are not finite and columns that
were not recorded are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from core.image_statistics import STATISTICS
from models.watching.evidence import accumulate, from_p_value
from models.watching.signals import Family, Shift, Signal, WatchPolicy, Window

PROBABILITIES, EMBEDDINGS, IMAGE_STATISTICS = "probabilities", "embeddings", "statistics"
FAMILIES = {
    PROBABILITIES: Family.OUTPUTS, EMBEDDINGS: Family.INPUTS, IMAGE_STATISTICS: Family.INPUTS,
}  # fmt: skip
LEVEL = 0.001  # of one window alone; what raises an alarm is the evidence of all windows
COMPONENTS = 16  # of the embeddings
POWERS = 4  # of the covariance, by which its leading axes are found
REFERENCE_ROWS = 5000  # at most: more add cost and hardly any power
LEAST_REFERENCE = 20  # groups: below, the asymptotic tests do not hold
SPLITS = 20  # of the reference, by which a test is calibrated
EXEMPLARS = 9


@dataclass(frozen=True)
class Pair:
    """Rows of one view on both sides, and which rows of reference and window they are."""

    reference: np.ndarray
    window: np.ndarray
    past_places: np.ndarray
    places: np.ndarray
    columns: tuple[str, ...]
    rows: int  # of the window, before groups were counted once


Test = Callable[[np.ndarray, np.ndarray], float]  # reference and window to a p-value
Split = Callable[[np.ndarray], float]  # which rows of the reference are the window, to a p-value


def doubt(reference: Window, window: Window, policy: WatchPolicy) -> str | None:
    """The reason why a test of these rows would mean nothing; None without one."""
    for view in ("outputs", "embeddings", "statistics"):
        past, new = (getattr(side, view) for side in (reference, window))
        if past.shape[1] != new.shape[1]:
            return (
                f"{view} have {new.shape[1]} columns in the window and {past.shape[1]} in the "
                "reference: another model made them"
            )
    for side, name, least in (
        (reference, "reference", LEAST_REFERENCE), (window, "window", policy.min_rows),
    ):  # fmt: skip
        groups = len(np.unique(side.groups[_finite(side)]))
        if groups < least:
            return f"{groups} different images in the {name}, {least} are needed"
    return None


def compared(
    reference: Window,
    window: Window,
    policy: WatchPolicy,
    rng: np.random.Generator,
    views: Sequence[str] = tuple(FAMILIES),
) -> dict[str, Pair]:
    """The rows to compare by view; a view without a column that both sides have is left out."""
    past = _one_of_each_group(reference, REFERENCE_ROWS, rng)
    new = _one_of_each_group(window, policy.window, rng)
    pairs = {}
    for view in views:
        pair = _pair(view, reference, window, past, new)
        if pair.window.shape[1] and len(pair.window) > 1 and len(pair.reference) > 1:
            pairs[view] = pair
    return pairs


def signal_of_each_view(
    detector: str,
    signal_of: Callable[..., tuple[Signal, dict[str, float]]],
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """A signal each for class probabilities, embeddings and image statistics, and the state.

    `signal_of(name, pair, state, rng, family=, policy=)` gives one and what to store of it.
    """
    reason = doubt(reference, window, policy)
    pairs = {} if reason else compared(reference, window, policy, rng)
    signals: list[Signal] = []
    stored: dict[str, Any] = {}
    for view, family in FAMILIES.items():
        name = f"{detector}-{view}"
        if view not in pairs:
            why = reason or f"the images' {view} were not recorded on both sides"
            signals.append(cannot_tell(name, family, window, state, why, note=not reason))
            continue
        pair = components(pairs[view]) if view == EMBEDDINGS else pairs[view]
        signal, exponent = signal_of(name, pair, state, rng, family=family, policy=policy)
        signals.append(signal)
        stored |= exponent
    return signals, next_state(state, signals, stored)


def p_value_signal(
    name: str,
    family: Family,
    pair: Pair,
    state: Mapping[str, Any],
    *,
    p_value: float,
    value: float,
    meaning: str,
    moved: np.ndarray | None = None,
    drift: bool | None = None,
    threshold: float = LEVEL,
    detail: Mapping[str, float] | None = None,
) -> Signal:
    """The signal of a test; drift where the p-value is at most `threshold`, unless `drift` says it.

    `moved` has a number for each row of the pair's window, largest where it moved most.
    """
    evidence = from_p_value(p_value)
    most = np.argsort(-moved, kind="stable")[:EXEMPLARS] if moved is not None else np.arange(0)
    is_drift = p_value <= threshold if drift is None else drift
    return Signal(
        name=name, family=family, outcome=Shift.DRIFT if is_drift else Shift.NONE,
        value=value, threshold=threshold, evidence=evidence,
        accumulated=accumulate(_before(state, name), evidence), p_value=p_value,
        rows=pair.rows, groups=len(pair.window), meaning=meaning,
        exemplars=tuple(int(place) for place in pair.places[most]),
        detail=detail or {},
    )  # fmt: skip


def cannot_tell(
    name: str,
    family: Family,
    window: Window,
    state: Mapping[str, Any],
    reason: str,
    *,
    note: bool = False,
) -> Signal:
    """A signal that adds no evidence, and says what is missing; a note takes no share of it."""
    return Signal(
        name=name, family=family, outcome=Shift.UNKNOWN, value=None, threshold=None, evidence=0.0,
        accumulated=accumulate(_before(state, name), 0.0), p_value=None, rows=len(window),
        groups=len(np.unique(window.groups)), meaning=reason, weight=0.0 if note else 1.0,
    )  # fmt: skip


def next_state(
    state: Mapping[str, Any],
    signals: Sequence[Signal],
    stored: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The state for the next window: what the signals have accumulated, and what is stored."""
    accumulated = {signal.name: round(signal.accumulated, 6) for signal in signals}
    return {**state, **stored, "accumulated": accumulated}


def _before(state: Mapping[str, Any], name: str) -> float:
    return float(state.get("accumulated", {}).get(name, 0.0))


def calibrated(
    p_value: float,
    split: Split,
    pair: Pair,
    state: Mapping[str, Any],
    name: str,
    rng: np.random.Generator,
) -> tuple[float, dict[str, float]]:
    """The p-value as clean splits of the reference calibrate it, and what to store for the next.

    On clean rows -log(p) has a mean of 1 when p is uniform. Where splits of the reference have a
    larger one, the test alarms too often here, and p is raised to the power of its inverse; one
    that alarms too rarely stays as it is.
    """
    rows, key = len(pair.reference), f"{name}-calibration"
    if state.get(f"{name}-reference") == rows:
        exponent = float(state[key])
    else:
        exponent = _exponent(split, rows, len(pair.window), rng)
    return float(p_value**exponent), {f"{name}-reference": rows, key: round(exponent, 6)}


def split_by(test: Test, rows: np.ndarray) -> Split:
    """The test on a split of these rows."""
    return lambda chosen: test(rows[~chosen], rows[chosen])


def _exponent(split: Split, rows: int, size: int, rng: np.random.Generator) -> float:
    """At most 1; the prior, worth as much as the splits, is a test that keeps its level."""
    chosen = np.arange(rows) < min(size, rows // 2)
    logs = sum(-np.log(max(split(rng.permutation(chosen)), 1e-12)) for _ in range(SPLITS))
    return min(1.0, 2 * SPLITS / (SPLITS + float(logs)))


def _one_of_each_group(side: Window, most: int, rng: np.random.Generator) -> np.ndarray:
    """The places of one row of each group, in the order of the rows."""
    order = rng.permutation(np.flatnonzero(_finite(side)))
    _, first = np.unique(side.groups[order], return_index=True)
    chosen = order[first]
    if len(chosen) > most:
        chosen = rng.choice(chosen, most, replace=False)
    return np.sort(chosen)


def _finite(side: Window) -> np.ndarray:
    return np.isfinite(side.outputs).all(axis=1) & np.isfinite(side.embeddings).all(axis=1)


def _pair(view: str, reference: Window, window: Window, past: np.ndarray, new: np.ndarray) -> Pair:
    if view == IMAGE_STATISTICS:
        return _statistics_pair(reference, window, past, new)
    side = "outputs" if view == PROBABILITIES else "embeddings"
    one, other = (np.asarray(getattr(each, side), np.float64) for each in (reference, window))
    names = tuple(f"{side} {column}" for column in range(one.shape[1]))
    return Pair(one[past], other[new], past, new, names, len(window))


def _statistics_pair(reference: Window, window: Window, past: np.ndarray, new: np.ndarray) -> Pair:
    """Columns that most rows of both sides have and that vary; then the rows that have them all."""
    one = np.asarray(reference.statistics[past], np.float64)
    other = np.asarray(window.statistics[new], np.float64)
    recorded = [np.isfinite(side).mean(axis=0) > 0.5 if len(side) else False
                for side in (one, other)]  # fmt: skip
    columns = np.flatnonzero(recorded[0] & recorded[1])
    one, other = one[:, columns], other[:, columns]
    whole, whole_new = np.isfinite(one).all(axis=1), np.isfinite(other).all(axis=1)
    one, other = one[whole], other[whole_new]
    both = np.vstack([one, other])
    varies = np.ptp(both, axis=0) > 0 if len(both) else np.zeros(len(columns), bool)
    names = tuple(STATISTICS[column] for column in columns[varies])
    return Pair(one[:, varies], other[:, varies], past[whole], new[whole_new], names, len(window))


def components(pair: Pair, count: int = COMPONENTS) -> Pair:
    """The pair on the principal axes of both sides together.

    Axes of the reference alone fit it better than the window, the more so the wider the embedding:
    that would raise alarms without drift.
    """
    both = np.vstack([pair.reference, pair.window]).astype(np.float32)
    both -= both.mean(axis=0)
    count = min(count, *both.shape)
    basis = np.random.default_rng(0).normal(size=(both.shape[1], min(3 * count, both.shape[1])))
    for _ in range(POWERS):  # of the covariance: the leading axes stand out
        basis = np.linalg.qr(both.T @ (both @ basis.astype(np.float32)))[0]
    narrow = (both @ basis).astype(np.float64)
    projected = narrow @ np.linalg.eigh(narrow.T @ narrow)[1][:, ::-1][:, :count]
    cut = len(pair.reference)
    names = tuple(f"component {column}" for column in range(count))
    return replace(pair, reference=projected[:cut], window=projected[cut:], columns=names)


def moved_from(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """How far each row of a window is from the middle of the reference, in its own spread."""
    spread = reference.std(axis=0) + 1e-9
    return np.abs((window - reference.mean(axis=0)) / spread).max(axis=1, initial=0)
