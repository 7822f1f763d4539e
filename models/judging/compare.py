"""Whether a challenger is better than the champion, on the same rows.

* REJECT: the challenger is significantly worse.
* PROMOTE: its mean credit is higher by more than `min_gain`; the interval of the difference
  excludes a loss of `margin`; and on no class or slice with enough rows is it significantly worse.
* HOLD: everything else, and always when evidence is missing; a person or more audit labels decide.

Significantly worse: the interval of the difference lies below zero, and the exact sign test (for
credits of 0 and 1: McNemar's) of the plain counts agrees. (Where weights turn the counts around,
that test is not meaningful and is left out.) Groups and slices are tested together (Bonferroni).

The first model is compared with the best constant output: the lower bound of its mean credit must
be above that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.intervals import (
    Interval,
    inverse_probability_weights,
    mean_interval,
    paired_difference,
)
from models.judging.verdict import GatePolicy, Outcome, Verdict
from models.kinds import DEFAULT, KINDS, Kind


@dataclass(frozen=True)
class _Credits:
    """The credit of both models for each row, and the weight of each row."""

    challenger: np.ndarray
    champion: np.ndarray
    weights: np.ndarray

    def on(self, rows: np.ndarray) -> "_Credits":
        return _Credits(self.challenger[rows], self.champion[rows], self.weights[rows])


def compare(
    truths: Sequence[Any],
    challenger_outputs: np.ndarray,
    champion_outputs: np.ndarray | None,
    classes: Sequence[str],
    policy: GatePolicy,
    *,
    slices: Sequence[str] | None = None,
    inclusion_probability: np.ndarray | None = None,
    kind: Kind = KINDS[DEFAULT],
) -> Verdict:
    """The verdict on a challenger, from both models' outputs for the same rows in one order.

    Evidence that is missing, too little or not finite never promotes: it is HOLD with the reason.
    """
    problems = _problems(truths, challenger_outputs, champion_outputs, classes, policy, kind)
    problems += _row_problems(len(truths), slices, inclusion_probability)
    if problems:
        return Verdict(Outcome.HOLD, problems, {"rows": len(truths)})
    weights = inverse_probability_weights(len(truths), inclusion_probability)
    drawn, alpha = inclusion_probability, policy.alpha
    challenger = kind.credit(challenger_outputs, truths, classes)
    own = mean_interval(challenger, inclusion_probability=drawn, alpha=alpha)
    metrics: dict[str, Any] = {"rows": len(truths), **_numbers("challenger_accuracy", own)}
    if champion_outputs is None:
        return _first(own, kind.constant_credit(truths, weights), metrics)
    champion = kind.credit(champion_outputs, truths, classes)
    theirs = mean_interval(champion, inclusion_probability=drawn, alpha=alpha)
    credits = _Credits(challenger, champion, weights)
    difference = paired_difference(challenger, champion, weights=weights, alpha=alpha)
    metrics |= {**_numbers("champion_accuracy", theirs), **_numbers("difference", difference)}
    metrics |= {
        "p_value": sign_test(challenger, champion),
        "only_challenger_right": int((challenger > champion).sum()),
        "only_champion_right": int((champion > challenger).sum()),
        "worse_groups": _worse_groups(kind.groups(truths), slices, credits, policy),
    }
    return _conclusion(_is_worse(credits, alpha), difference, metrics, policy)


def sign_test(one: np.ndarray, other: np.ndarray) -> float:
    """The exact two-sided p-value that `one` and `other` are equally often the better one.

    For credits of 0 and 1 it is the exact McNemar test.
    """
    only_one, only_other = int((one > other).sum()), int((other > one).sum())
    differing = only_one + only_other
    tail = sum(math.comb(differing, k) for k in range(min(only_one, only_other) + 1))
    return min(1.0, 2 * tail / 2**differing)


def worst_mistakes(
    outputs: np.ndarray,
    truths: Sequence[str],
    classes: Sequence[str],
    *,
    most: int = 16,
    kind: Kind = KINDS[DEFAULT],
) -> pd.DataFrame:
    """The rows without credit on which the model was most confident, worst first."""
    answers = kind.answers(outputs, classes)
    confidence = np.array([answer.confidence for answer in answers])
    wrong = np.flatnonzero(kind.credit(outputs, truths, classes) == 0)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return pd.DataFrame(
        {
            "row": worst,
            "truth": [truths[row] for row in worst],
            "predicted": [answers[row].label for row in worst],
            "confidence": confidence[worst],
        }
    )


def _conclusion(
    worse: bool, difference: Interval, metrics: dict[str, Any], policy: GatePolicy
) -> Verdict:
    numbers = (
        f"right on {metrics['challenger_accuracy']:.3f} of {difference.rows} rows, the champion on "
        f"{metrics['champion_accuracy']:.3f}: {difference.value:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}], p = {metrics['p_value']:.3g}"
    )
    if worse:
        return Verdict(Outcome.REJECT, [f"significantly worse: {numbers}"], metrics)
    against = [f"significantly worse on {group}" for group in metrics["worse_groups"]]
    if difference.value <= policy.min_gain:
        against.append(f"the gain is not above {policy.min_gain:g}")
    if difference.low <= -policy.margin:
        against.append(f"a loss of {policy.margin:g} or more cannot be excluded")
    if against:
        return Verdict(Outcome.HOLD, [*against, numbers], metrics)
    return Verdict(Outcome.PROMOTE, [numbers], metrics)


def _first(own: Interval, constant: float, metrics: dict[str, Any]) -> Verdict:
    metrics = {**metrics, "most_frequent_class": constant}
    numbers = (
        f"no champion yet; accuracy {own} on {own.rows} rows, the most frequent class "
        f"{constant:.3f}"
    )
    if own.low > constant:
        return Verdict(Outcome.PROMOTE, [numbers], metrics)
    reason = "not shown to be better than always the same answer"
    return Verdict(Outcome.HOLD, [reason, numbers], metrics)


def _is_worse(credits: _Credits, alpha: float) -> bool:
    one, other = credits.challenger, credits.champion
    if paired_difference(one, other, weights=credits.weights, alpha=alpha).high >= 0:
        return False
    return bool(one.sum() >= other.sum()) or sign_test(one, other) < alpha


def _worse_groups(
    groups: dict[str, np.ndarray],
    slices: Sequence[str] | None,
    credits: _Credits,
    policy: GatePolicy,
) -> list[str]:
    """The groups and slices on which the challenger is significantly worse."""
    for name in sorted(set(slices)) if slices is not None else []:
        groups[f"slice {name}"] = np.asarray(slices, object) == name
    large = {name: rows for name, rows in groups.items() if rows.sum() >= policy.min_slice_rows}
    return [
        f"{name} ({credits.champion[rows].mean():.3f} -> {credits.challenger[rows].mean():.3f}, "
        f"{rows.sum()} rows)"
        for name, rows in large.items()
        if _is_worse(credits.on(rows), policy.alpha / len(large))
    ]


def _problems(
    truths: Sequence[Any],
    challenger_outputs: np.ndarray,
    champion_outputs: np.ndarray | None,
    classes: Sequence[str],
    policy: GatePolicy,
    kind: Kind,
) -> list[str]:
    """The reasons why these outputs cannot be compared; empty when they can."""
    problems = []
    if len(truths) < policy.min_rows:
        problems.append(
            f"{len(truths)} audit rows; {policy.min_rows} are needed: label more of them"
        )
    unknown = kind.unknown_truths(truths, classes)
    if unknown:
        problems.append(f"{len(unknown)} truths are no class, such as {unknown[0]!r}")
    outputs = {"challenger": challenger_outputs}
    if champion_outputs is not None:
        outputs["champion"] = champion_outputs
    return problems + [
        f"{model}: {problem}"
        for model, rows in outputs.items()
        for problem in kind.problems(rows, len(truths), classes)
    ]


def _row_problems(
    rows: int, slices: Sequence[str] | None, inclusion_probability: np.ndarray | None
) -> list[str]:
    problems = []
    if slices is not None and len(slices) != rows:
        problems.append(f"there are {len(slices)} slice names for {rows} rows")
    if inclusion_probability is not None:
        drawn = np.asarray(inclusion_probability, dtype=float)
        if len(drawn) != rows or not ((drawn > 0) & (drawn <= 1)).all():
            problems.append("inclusion probabilities are not one for each row, above 0 and up to 1")
    return problems


def _numbers(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
