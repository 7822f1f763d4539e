"""The accumulating test: a bet on every score of every window, multiplied over windows.

A score's values fall into cells. Under clean traffic the counts of a window follow a Polya urn that
holds the reference, weighed to the window's mix of classes, and the earlier traffic; a small
reference widens it. Bets are other urns: wider, shifted or heavy-tailed ones, and ones learned from
the last windows. A bet is worth the ratio of the two probabilities of the counts: 1 in mean.
"""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.watching.class_mix import MIX_NAME, MIX_WEIGHT, class_mix, mix_signal
from models.watching.direction import NAME as DIRECTION_NAME
from models.watching.direction import Along, Features, follow
from models.watching.evidence import accumulate
from models.watching.groups import group_weights
from models.watching.scores import Scores, fit_scores
from models.watching.signals import Family, Shift, Signal, WatchPolicy, Window
from models.watching.urns import play, urn_of

NAME = "martingale"
KNOWN_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a known drift in the traffic
LEAST_REFERENCE = 3  # rows: axes, and something to count
EXEMPLARS, TOP = 12, 6
DIRECTION = 0.2  # share of the bets along the direction of the traffic
_LAST: list[
    tuple["weakref.ref[Window]", Scores, Features]
] = []  # one check after the other has one reference


def martingale(
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """Evidence that images, embeddings or outputs drifted, and that the mix of classes did.

    Drift is called when every mixture of the reference and of what is known of a drift is refused.
    """
    missing = _missing(reference, window)
    if missing:
        return _cannot_tell(window, state, missing), dict(state)
    scores, features = _fitted(reference)
    state = _continued(state, scores)
    before: Mapping[str, float] = state["accumulated"]
    weights = group_weights(window.groups)
    mix = class_mix(window.outputs * scores.factors, scores.base, weights)
    counts, cells = scores.counted(window, weights)
    known = KNOWN_SHARES if "known" in scores.strata else KNOWN_SHARES[:1]
    shares = {f"{share:g}": share for share in known}
    urns = {name: urn_of(scores.strata, mix, share) for name, share in shares.items()}
    learned, levels = {}, {}
    for name, urn in urns.items():
        levels[name], learned[name] = play(
            urn, counts, state["learned"].get(name), state["levels"].get(name)
        )
    along = follow(features, state["direction"], window, weights, mix, shares)
    totals = {name: _together(level, along.levels.get(name)) for name, level in levels.items()}
    least = min(totals, key=totals.__getitem__)
    total = totals[least]
    signal = _signal(scores, window, policy, before.get(NAME, 0.0), total)
    compared = Compared(scores.names, cells, counts, urns[least].centre, levels[least])
    signal = _explained(signal, window, _with(compared, along, least))
    lasting, days = mix_signal(
        window, mix, scores.base, state["mix"], before.get(MIX_NAME, 0.0), policy=policy, rng=rng
    )
    new = {
        "reference": scores.digest,
        "accumulated": {NAME: round(total, 3), MIX_NAME: round(lasting.accumulated, 3)},
        "learned": learned,
        "levels": {name: _without_nan(np.round(level, 3)) for name, level in levels.items()},
        "direction": along.state,
        "mix": days,
    }
    return [signal, lasting], new


def _fitted(reference: Window) -> tuple[Scores, Features]:
    """What was fitted on a reference, once for checks that follow each other."""
    if not (_LAST and _LAST[0][0]() is reference):
        scores = fit_scores(reference)
        _LAST[:] = [(weakref.ref(reference), scores, Features.of(reference, scores))]
    return _LAST[0][1:]


def _missing(reference: Window, window: Window) -> str | None:
    """What keeps the window from being tested; None when nothing does."""
    base = len(reference) if reference.known is None else int((~reference.known).sum())
    if max(base, len(reference) - base) < LEAST_REFERENCE:
        return f"the reference has {len(reference)} rows, {LEAST_REFERENCE} are needed"
    if not len(window):
        return "no row of the window is left to test"
    for view in ("outputs", "embeddings", "statistics"):
        ours, theirs = getattr(window, view).shape[1], getattr(reference, view).shape[1]
        if ours != theirs:
            return f"{view} have {ours} columns in the window and {theirs} in the reference"
    return None


def _continued(state: Mapping[str, Any], scores: Scores) -> dict[str, Any]:
    """The state to go on with: a new reference starts the test anew, an answered alarm the bets."""
    days = state.get("mix", {})
    if state.get("reference") != scores.digest:
        return {"accumulated": {}, "learned": {}, "levels": {}, "direction": {}, "mix": days}
    accumulated, heading = state.get("accumulated", {}), state.get("direction", {})
    if NAME in accumulated:
        return {**state, "accumulated": accumulated, "direction": heading}
    heading = {**heading, "levels": {}}
    return {**state, "accumulated": accumulated, "levels": {}, "direction": heading}


def _signal(
    scores: Scores, window: Window, policy: WatchPolicy, before: float, total: float
) -> Signal:
    """The signal of what was accumulated, without its explanation."""
    evidence = total - max(before, 0.0)
    threshold = float(np.log(max(policy.checks_planned / policy.alarms_per_quarter, 1.0)))
    return Signal(
        name=NAME,
        family=Family.INPUTS,
        outcome=Shift.DRIFT if total >= threshold else Shift.NONE,
        value=total,
        threshold=threshold,
        evidence=evidence,
        accumulated=accumulate(before, evidence),
        p_value=float(np.exp(-max(evidence, 0.0))),
        rows=len(window),
        groups=len(np.unique(window.groups)),
        meaning=f"{len(scores.names)} scores were compared with the reference",
    )


@dataclass(frozen=True)
class Compared:
    """What a window and all before it say of each score."""

    names: tuple[str, ...]
    cells: np.ndarray  # (rows, scores)
    counts: np.ndarray  # (scores, cells)
    centre: np.ndarray  # (scores, cells)
    level: np.ndarray  # (bets, scores)


def _with(compared: Compared, along: Along, share: str) -> Compared:
    """What is compared along the direction of the traffic too, where there is one."""
    if share not in along.levels:
        return compared
    return Compared(
        (*compared.names, DIRECTION_NAME),
        np.column_stack([compared.cells, along.cells]),
        np.vstack([compared.counts, along.counts]),
        np.vstack([compared.centre, along.urns[share].centre]),
        np.column_stack([compared.level, along.levels[share]]),
    )


def _explained(signal: Signal, window: Window, compared: Compared) -> Signal:
    """The signal with the scores that moved most, and the rows that moved them."""
    names, cells = compared.names, compared.cells
    best = np.where(np.isnan(compared.level), -np.inf, compared.level).max(axis=0)
    best = np.nan_to_num(best, neginf=-1e9)
    order = np.argsort(-best)[:TOP]
    shares = (compared.counts + 1) / (compared.counts + 1).sum(axis=1, keepdims=True)
    gains = np.log(shares / np.maximum(compared.centre, 1e-6))
    moved = np.zeros(len(window))
    for score in order:
        known = cells[:, score] >= 0
        moved[known] += gains[score, cells[known, score]]
    first = np.argsort(-moved, kind="stable")
    _, places = np.unique(window.groups[first], return_index=True)
    exemplars = first[np.sort(places)][:EXEMPLARS].tolist()  # one of each group
    top = names[order[0]]
    more = ", ".join(names[score] for score in order[1:3])
    meaning = (
        f"{top} has moved most, then {more}: the accumulated evidence is "
        f"{np.exp(min(signal.accumulated, 50.0)):.3g} to 1 (alarm from "
        f"{np.exp(signal.threshold or 0.0):,.0f} to 1)"
    )
    detail = {names[score]: round(float(best[score]), 3) for score in order}
    return replace(signal, meaning=meaning, exemplars=tuple(exemplars), detail=detail)


def _cannot_tell(window: Window, state: Mapping[str, Any], why: str) -> list[Signal]:
    accumulated = state.get("accumulated", {})
    families = {NAME: (Family.INPUTS, 1.0), MIX_NAME: (Family.OUTPUTS, MIX_WEIGHT)}
    return [
        Signal(
            name=name,
            family=family,
            outcome=Shift.UNKNOWN,
            value=None,
            threshold=None,
            evidence=0.0,
            accumulated=accumulate(accumulated.get(name, 0.0), 0.0),
            p_value=None,
            rows=len(window),
            groups=len(np.unique(window.groups)),
            meaning=why,
            weight=weight,
        )
        for name, (family, weight) in families.items()
    ]


def _without_nan(levels: np.ndarray) -> list[list[float | None]]:
    """As JSON, in which PostgreSQL takes no NaN."""
    return [[None if np.isnan(one) else one for one in row] for row in levels.tolist()]


def _together(levels: np.ndarray, along: np.ndarray | None) -> float:
    """What all bets have gathered: those on single scores, and those along the direction."""
    total = _log_mean(levels)
    if along is None:
        return float(np.logaddexp(np.log(1 - DIRECTION) + total, np.log(DIRECTION)))
    parts = np.log([1 - DIRECTION, DIRECTION]) + np.array([total, _log_mean(along)])
    return float(np.logaddexp.reduce(parts))


def _log_mean(levels: np.ndarray) -> float:
    """The logarithm of the mean of the wealths of all bets that know something."""
    flat = levels[np.isfinite(levels)]
    return float(np.logaddexp.reduce(flat) - np.log(len(flat))) if len(flat) else 0.0
