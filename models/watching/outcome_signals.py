"""Signals about outcomes: accuracy, F1 and recall against their values at release.

Each is a bet on a bounded score of every outcome: its mean is at least 0 while the model is no
worse than `policy.decay` below its value at release, and the wealth of the better, who bets that it
is below 0, is an e-value at any number of outcomes. Several stakes are bet, each with a wealth of
its own that goes on from check to check: a signal has their mean. The value at release is an
estimate too: its error is added to the decay. Truths that are not confirmed never judge.

People confirm what they doubt. Where the model was less sure of the images with a truth than of the
traffic, they are no picture of it: a decline must then show beside the model's own confidence, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from models.watching.evidence import accumulate
from models.watching.signals import SUPPORTING, Family, Shift, Signal, WatchPolicy, Window
from models.watching.views import next_state

NAMES = ("accuracy", "f1", "recall")
STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.8])  # shares of the most that may be bet
PROOF = np.log(100)  # evidence at which a signal says drift by itself
ERROR = 1.645  # standard errors of the value at release that are given away: wrong in one of 20
MOST = 20.0  # of the evidence accumulated: a decline that was repaired is forgotten in the end
SELECTED = 2.0  # standard errors by which truths are of less certain images than the traffic is
LEAST_CLASS = 10  # rows of a class in the reference: fewer tell nothing about its recall


@dataclass(frozen=True)
class Judged:
    """Served predictions whose truth came since the last check; row i is one prediction."""

    outputs: np.ndarray  # (n, classes) calibrated probabilities, as served
    truths: np.ndarray  # (n,) class numbers
    confirmed: np.ndarray  # (n,) booleans; the others never judge
    groups: np.ndarray  # (n,) near-duplicates, as in `Window`
    embeddings: np.ndarray | None = None  # (n, width), where all of them were recorded

    def confirmed_once(self) -> "Judged":
        """The confirmed rows of a class that the model knows, one of each group."""
        classes = self.outputs.shape[1]
        sound = np.isfinite(self.outputs).all(axis=1)
        usable = self.confirmed & sound & (self.truths >= 0) & (self.truths < classes)
        rows = np.flatnonzero(usable)
        _, first = np.unique(self.groups[rows], return_index=True)
        rows = np.sort(rows[first])
        embeddings = None if self.embeddings is None else self.embeddings[rows]
        return Judged(
            self.outputs[rows], self.truths[rows], self.confirmed[rows], self.groups[rows],
            embeddings,
        )  # fmt: skip


def outcome_signals(
    reference: Window,
    judged: Judged | None,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    served: Window | None = None,
) -> tuple[list[Signal], dict[str, Any]]:
    """The signals `accuracy`, `f1` and `recall` of the outcomes since the last check.

    `served` is the traffic of this check; without it the traffic is like that of the last one.
    """
    if served is not None and len(served):
        state = {**state, "certainty": round(float(served.outputs.max(axis=1).mean()), 4)}
    missing = _missing(reference, judged)
    rows = judged.confirmed_once() if judged is not None else None
    if missing or rows is None or not len(rows.truths):
        why = missing or "no confirmed truth of a served prediction came since the last check"
        signals = [_unknown(name, state, why) for name in NAMES]
        return signals, next_state(state, signals)
    past = _one_of_each_group(reference)
    selected = _is_selected(rows, state.get("certainty"))
    state = {**state, "selected": selected}
    signals, wealth = list[Signal](), dict(state.get("wealth", {}))
    for name, bet_on in ((NAMES[0], _accuracy), (NAMES[1], _f1), (NAMES[2], _recall)):
        bet = bet_on(past, rows, policy)
        if isinstance(bet, str):
            signals.append(_unknown(name, state, bet))
            continue
        if selected:  # the smaller of two e-values is one
            bet = replace(bet, logs=np.minimum(bet.logs, _beside_confidence(rows, policy)))
        wealth[name] = accumulated_wealth(state, name, bet.logs)
        signals.append(_signal(name, bet, wealth[name], rows, state, policy))
    return signals, next_state(state, signals, {"wealth": wealth})


@dataclass(frozen=True)
class _Bet:
    """What was bet on in a check, and what it brought."""

    value: float
    level: float  # at release
    logs: np.ndarray  # (stakes,) the logarithm of what each brought
    detail: Mapping[str, float] = field(default_factory=dict)


def accumulated_wealth(state: Mapping[str, Any], name: str, logs: np.ndarray) -> list[float]:
    """The wealth of each stake after a check; after an alarm they begin anew."""
    begun = name in state.get("accumulated", {}) and name in state.get("wealth", {})
    before = state["wealth"][name] if begun else [0.0] * len(logs)
    both = zip(before, logs.tolist(), strict=True)
    return [round(min(accumulate(had, brought), MOST), 6) for had, brought in both]


def _is_selected(rows: Judged, certainty: float | None) -> bool:
    """Whether the truths are of images that the model was less sure of than of the traffic."""
    if certainty is None:
        return False
    chances = rows.outputs.max(axis=1)
    return bool(float(chances.mean()) + SELECTED * _error(chances) < certainty)


def _beside_confidence(rows: Judged, policy: WatchPolicy) -> np.ndarray:
    """The evidence that fewer answers are right than the model's confidence says, by the decay."""
    chances = rows.outputs.max(axis=1)
    hits = rows.outputs.argmax(axis=1) == rows.truths
    return bets(hits - chances + policy.decay, float(1 - chances.min()) + policy.decay)


def macro_f1(predicted: np.ndarray, truths: np.ndarray, classes: int) -> float:
    """The mean F1 of the classes that occur; NaN without a row."""
    hits, amounts = _counts(predicted, truths, classes)
    occur = amounts > 0
    return float((2 * hits[occur] / amounts[occur]).mean()) if occur.any() else float("nan")


def decline(scores: np.ndarray, most: float) -> float:
    """The evidence that the mean of `scores`, of which none is above `most`, is below 0.

    The wealth of several stakes, each at most what a score of `most` leaves above nothing.
    """
    return mean_wealth(bets(scores, most))


def bets(scores: np.ndarray, most: float) -> np.ndarray:
    """The logarithm of what each stake brings."""
    shares = np.asarray(scores, float)[None] / max(most, 1e-9)
    return np.asarray(np.log1p(-STAKES[:, None] * shares).sum(axis=1))


def mean_wealth(logs: Sequence[float] | np.ndarray) -> float:
    """The logarithm of the mean over stakes."""
    return float(np.logaddexp.reduce(logs) - np.log(len(logs)))


def surprise(judged: Judged, ratio: np.ndarray | None = None) -> tuple[float, float]:
    """How far outcomes are from what the model's own probabilities say, in standard errors.

    By the likelihood of the truths (larger: less likely), and by how many answers are right (above
    0: fewer). `ratio` is, by class, how much oftener it occurs than where they were calibrated.
    """
    weighed = np.clip(judged.outputs * (1.0 if ratio is None else ratio), 1e-3, None)
    probabilities = weighed / weighed.sum(axis=1, keepdims=True)
    logs = np.log(probabilities)
    entropy = -(probabilities * logs).sum(axis=1)
    spread = ((probabilities * logs**2).sum(axis=1) - entropy**2).sum()
    lost = -logs[np.arange(len(logs)), judged.truths] - entropy
    chances, answers = probabilities.max(axis=1), probabilities.argmax(axis=1)
    missed = chances - (answers == judged.truths)
    return (
        float(lost.sum() / np.sqrt(spread + 1e-9)),
        float(missed.sum() / np.sqrt((chances * (1 - chances)).sum() + 1e-9)),
    )


def _missing(reference: Window, judged: Judged | None) -> str | None:
    if judged is None:
        return "no truth of a served prediction came since the last check"
    labels = reference.labels
    if labels is None or not (labels >= 0).any():
        return "the reference has no labels: the value at release is not known"
    if judged.outputs.shape[1] != reference.outputs.shape[1]:
        return (
            f"outputs have {judged.outputs.shape[1]} columns with the outcomes and "
            f"{reference.outputs.shape[1]} in the reference: another model made them"
        )
    return None


def _one_of_each_group(reference: Window) -> Judged:
    labels = reference.labels if reference.labels is not None else np.full(len(reference), -1)
    every = Judged(reference.outputs, labels, np.ones(len(labels), bool), reference.groups)
    return every.confirmed_once()


def _accuracy(past: Judged, rows: Judged, policy: WatchPolicy) -> _Bet:
    before, now = (side.outputs.argmax(axis=1) == side.truths for side in (past, rows))
    level = float(before.mean())
    allowed = policy.decay + ERROR * _error(before)
    return _Bet(float(now.mean()), level, bets(now - level + allowed, 1 - level + allowed))


def _f1(past: Judged, rows: Judged, policy: WatchPolicy) -> _Bet:
    """The change of F1 of each class, weighed by how much oftener it occurs than at release.

    To first order the mean of `_f1_scores` is the change of the macro F1, and it is a mean over
    rows: what a bet needs.
    """
    classes = past.outputs.shape[1]
    predicted = past.outputs.argmax(axis=1)
    hits, amounts = _counts(predicted, past.truths, classes)
    level = macro_f1(predicted, past.truths, classes)
    f1 = 2 * hits / np.maximum(amounts, 1)
    share = np.maximum(amounts, amounts.mean() / 2) / len(past.truths)  # no class weighs too much
    allowed = policy.decay + ERROR * _error(_f1_scores(past, f1, share, amounts, 0.0))
    scores = _f1_scores(rows, f1, share, amounts, allowed)
    most = float((2 * (1 - f1 + allowed) / share)[amounts > 0].max() / (amounts > 0).sum())
    value = macro_f1(rows.outputs.argmax(axis=1), rows.truths, classes)
    return _Bet(value, level, bets(scores, most))


def _f1_scores(
    rows: Judged, f1: np.ndarray, share: np.ndarray, amounts: np.ndarray, allowed: float
) -> np.ndarray:
    predicted, target = rows.outputs.argmax(axis=1), np.where(amounts > 0, f1 - allowed, 0.0)
    weight = np.where(amounts > 0, 1 / share, 0.0) / (amounts > 0).sum()
    hit = predicted == rows.truths
    right = 2 * (1 - target[predicted]) * weight[predicted]
    wrong = -target[predicted] * weight[predicted] - target[rows.truths] * weight[rows.truths]
    return np.where(hit, right, wrong)


def _recall(past: Judged, rows: Judged, policy: WatchPolicy) -> _Bet | str:
    """The mean e-value over classes; the class whose recall fell most is named."""
    from scipy.special import ndtri

    logs, detail, worst = [], {}, (np.inf, -1, 0.0, 0.0)
    errors = -float(ndtri(0.05 / past.outputs.shape[1]))  # all classes together: one of 20
    for label in range(past.outputs.shape[1]):
        before, now = (
            (side.outputs.argmax(axis=1) == label)[side.truths == label] for side in (past, rows)
        )
        if len(before) < LEAST_CLASS:
            continue
        level, value = float(before.mean()), float(now.mean()) if len(now) else np.nan
        allowed = policy.decay + errors * _error(before)
        logs.append(bets(now - level + allowed, 1 - level + allowed))
        if len(now):
            detail[f"class {label}"] = value
            worst = min(worst, (value - level, label, value, level))
    if worst[1] < 0:
        return f"no class has both an outcome and {LEAST_CLASS} rows of the reference"
    mean = np.logaddexp.reduce(logs, axis=0) - np.log(len(logs))
    return _Bet(worst[2], worst[3], mean, detail)


def _counts(
    predicted: np.ndarray, truths: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """By class: hits, and rows predicted as it plus rows that are it."""
    hits = np.bincount(truths[predicted == truths], minlength=classes)
    amounts = np.bincount(predicted, minlength=classes) + np.bincount(truths, minlength=classes)
    return hits, amounts


def _error(values: np.ndarray) -> float:
    """The standard error of a mean; rows of one value have that of one row more, of the other."""
    rows = len(values)
    spread = float(np.std(values)) or float(np.sqrt(rows) / (rows + 1))
    return spread / np.sqrt(rows)


def _signal(
    name: str,
    bet: _Bet,
    wealth: Sequence[float],
    rows: Judged,
    state: Mapping[str, Any],
    policy: WatchPolicy,
) -> Signal:
    accumulated, level = mean_wealth(wealth), bet.level
    what = {"recall": "the lowest recall of a class against its value"}.get(name, name)
    odds = np.exp(min(accumulated, 50.0))
    meaning = (
        f"{what} is {bet.value:.3f} on {len(rows.truths)} confirmed outcomes, {level:.3f} at "
        f"release; a decline of more than {policy.decay:g} has evidence of {odds:.3g} : 1"
    )
    if state.get("selected"):
        sure = float(rows.outputs.max(axis=1).mean())
        meaning += (
            f"; the truths are of doubtful images (confidence {sure:.2f}, in the traffic "
            f"{state['certainty']:.2f}), which is allowed for"
        )
    wrong = np.flatnonzero(rows.outputs.argmax(axis=1) != rows.truths)
    return Signal(
        name=name, family=Family.OUTCOMES,
        outcome=Shift.DRIFT if accumulated >= PROOF else Shift.NONE, value=bet.value,
        threshold=level - policy.decay, evidence=mean_wealth(bet.logs), accumulated=accumulated,
        p_value=None,
        rows=len(rows.truths), groups=len(rows.truths), meaning=meaning,
        detail={**bet.detail, "at release": level, "wrong": float(len(wrong))},
        weight=SUPPORTING,
    )  # fmt: skip


def _unknown(name: str, state: Mapping[str, Any], why: str) -> Signal:
    return Signal(
        name=name, family=Family.OUTCOMES, outcome=Shift.UNKNOWN, value=None, threshold=None,
        evidence=0.0, accumulated=accumulate(_before(state, name), 0.0), p_value=None, rows=0,
        groups=0, meaning=why, weight=SUPPORTING,
    )  # fmt: skip


def _before(state: Mapping[str, Any], name: str) -> float:
    return float(state.get("accumulated", {}).get(name, 0.0))
