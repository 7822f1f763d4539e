"""How good a model is, with intervals, and whether it is better than the one in service.

The rule of `compare`, over the same rows for both models:

* REJECT: the challenger is significantly worse.
* PROMOTE: it is right more often, by more than `min_gain`; the interval of the difference excludes
  a loss of `margin`; and on no class or slice with enough rows is it significantly worse.
* HOLD: everything else, and always when evidence is missing; a person or more audit labels decide.

Significantly worse: the interval of the difference lies below zero, and the exact McNemar test of
the plain counts agrees. (Where weights turn the counts around, that test says nothing: it is left
out.) Classes and slices are tested together (Bonferroni).

The first model has nothing to beat but the guess of the most frequent class: the lower bound of
its accuracy must be above it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

PROMOTE, HOLD, REJECT = "PROMOTE", "HOLD", "REJECT"
OFF_BY = 1e-3  # a row of probabilities sums to one, within this
FEW = 3.5  # right or wrong answers up to which Wilson's bounds are too narrow


@dataclass(frozen=True)
class GatePolicy:
    """When a challenger takes the champion's place."""

    min_rows: int = 50  # below, 95 % intervals are wider than 25 points and decide nothing
    alpha: float = 0.05  # of the intervals and tests, two-sided
    margin: float = 0.02  # a loss of accuracy that must be excluded
    min_gain: float = 0.0  # the gain must be larger; a release that costs much may ask for more
    min_slice_rows: int = 30  # a slice with fewer has no say

    def __post_init__(self) -> None:
        for name, low, high in (("alpha", 0, 0.5), ("margin", 0, 1), ("min_gain", -1e-9, 1)):
            if not low < getattr(self, name) < high:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; choose between {max(low, 0)} and {high}"
                )
        for name in ("min_rows", "min_slice_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose 1 or more")


@dataclass(frozen=True)
class Verdict:
    """What was decided about a challenger, in words a person can check, with the numbers."""

    outcome: str  # PROMOTE, HOLD or REJECT
    reasons: list[str]
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds it lies between, with a confidence of 1 - alpha."""

    value: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(share: float, rows: float, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson's bounds of a share seen in so many rows (which may be an effective number)."""
    z = NormalDist().inv_cdf(1 - alpha / 2)
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    half /= 1 + z * z / rows
    return max(0.0, middle - half), min(1.0, middle + half)


def bounds(share: float, rows: float, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson's bounds, mended where only a few are right or a few are wrong.

    There Wilson's are too narrow (at 99 % right and ten rows they hold in 90 % instead of 95 %);
    the bound on the near side is that of a Poisson count instead (Brown, Cai and DasGupta, 2001).
    """
    from scipy.special import gammaincinv

    low, high = wilson(share, rows, alpha)
    if 0 < share < 0.5 - 1e-9 and share * rows <= FEW:
        low = min(low, float(gammaincinv(share * rows, alpha)) / rows)
    if 0.5 + 1e-9 < share < 1 and (1 - share) * rows <= FEW:
        high = max(high, 1 - float(gammaincinv((1 - share) * rows, alpha)) / rows)
    return low, high


def accuracy_interval(
    correct: np.ndarray, *, inclusion_probability: np.ndarray | None = None, alpha: float = 0.05
) -> Interval:
    """The share of right answers in the population that the rows were drawn from.

    With inclusion probabilities it is Hájek's estimate; its interval is Wilson's for as many rows
    as would vary as much (all right or all wrong: Kish's number).
    """
    right = np.asarray(correct, dtype=float)
    if not len(right):
        raise ValueError("there is no row to estimate an accuracy from; label audit samples first")
    weights = _weights(len(right), inclusion_probability)
    share = min(1.0, float(weights @ right))  # rounding: 20 of 20 were 1.0000000000000002
    variance = float((weights**2) @ (right - share) ** 2)
    rows = share * (1 - share) / variance if variance > 0 else _kish(weights)
    low, high = bounds(share, min(rows, len(right)), alpha)
    return Interval(share, low, high, len(right))


def is_right(truths: Sequence[str], probs: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """For each row whether its most probable class is its truth."""
    return np.asarray(classes, dtype=object)[probs.argmax(1)] == np.asarray(truths, dtype=object)


def accuracy_by(groups: Sequence[str], correct: np.ndarray, *, alpha: float = 0.05) -> pd.DataFrame:
    """Accuracy with its interval for each group (truths: per class; origins: per slice)."""
    names = np.asarray(groups, dtype=object)
    rows = []
    for name in sorted(set(groups)):
        found = accuracy_interval(correct[names == name], alpha=alpha)
        rows.append((name, found.rows, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["group", "rows", "accuracy", "low", "high"])


def confusion(truths: Sequence[str], probs: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """How often each truth (row) was answered with each class (column), in the order of classes."""
    numbers = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, ([numbers[truth] for truth in truths], probs.argmax(1)), 1)
    return counts


def worst_mistakes(
    truths: Sequence[str], probs: np.ndarray, classes: Sequence[str], *, most: int = 16
) -> pd.DataFrame:
    """The wrong answers given with the greatest confidence, worst first."""
    wrong = np.flatnonzero(~is_right(truths, probs, classes))
    worst = wrong[np.argsort(-probs[wrong].max(1), kind="stable")][:most]
    numbers = {name: number for number, name in enumerate(classes)}
    return pd.DataFrame(
        {
            "row": worst,
            "truth": [truths[row] for row in worst],
            "predicted": [classes[probs[row].argmax()] for row in worst],
            "confidence": probs[worst].max(1),
            "truth_probability": [float(probs[row, numbers[truths[row]]]) for row in worst],
        }
    )


def compare(
    truths: Sequence[str],
    challenger_probs: np.ndarray,
    champion_probs: np.ndarray | None,
    classes: Sequence[str],
    policy: GatePolicy,
    *,
    slices: Sequence[str] | None = None,
    inclusion_probability: np.ndarray | None = None,
) -> Verdict:
    """The verdict on a challenger, from what both models said about the same rows in one order.

    Evidence that is missing, too little or no number never promotes: it is HOLD and says why.
    """
    doubts = _doubts(truths, challenger_probs, champion_probs, classes, policy)
    doubts += _strange_rows(len(truths), slices, inclusion_probability)
    if doubts:
        return Verdict(HOLD, doubts, {"rows": len(truths)})
    weights = _weights(len(truths), inclusion_probability)
    challenger = is_right(truths, challenger_probs, classes)
    own = accuracy_interval(
        challenger, inclusion_probability=inclusion_probability, alpha=policy.alpha
    )
    metrics: dict[str, Any] = {"rows": len(truths), **_told("challenger_accuracy", own)}
    if champion_probs is None:
        return _first(own, truths, weights, metrics)
    champion = is_right(truths, champion_probs, classes)
    theirs = accuracy_interval(
        champion, inclusion_probability=inclusion_probability, alpha=policy.alpha
    )
    difference = paired_difference(challenger, champion, weights=weights, alpha=policy.alpha)
    metrics |= {**_told("champion_accuracy", theirs), **_told("difference", difference)}
    metrics |= {
        "p_value": mcnemar(challenger, champion),
        "only_challenger_right": int((challenger & ~champion).sum()),
        "only_champion_right": int((champion & ~challenger).sum()),
        "worse_groups": _worse_groups(truths, slices, challenger, champion, weights, policy),
    }
    worse = _is_worse(challenger, champion, weights, policy.alpha)
    return _judged(worse, difference, metrics, policy)


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """The exact two-sided p-value that `one` and `other` are right equally often on these rows."""
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    split = only_one + only_other
    tail = sum(math.comb(split, k) for k in range(min(only_one, only_other) + 1))
    return min(1.0, 2 * tail / 2**split)


def paired_difference(
    one: np.ndarray, other: np.ndarray, *, weights: np.ndarray, alpha: float = 0.05
) -> Interval:
    """How much more often `one` is right than `other`, with Newcombe's interval for pairs.

    Sound also where few or no rows differ, where a bootstrap would claim certainty. Unequal weights
    count as Kish's number of rows.
    """
    rows = _kish(weights)
    weights = weights / weights.sum()
    share, base = float(weights @ one), float(weights @ other)
    (low, high), (base_low, base_high) = wilson(share, rows, alpha), wilson(base, rows, alpha)
    phi = _phi(one, other, weights, rows)
    down, base_up = share - low, base_high - base
    up, base_down = high - share, base - base_low
    below = math.sqrt(max(0.0, down**2 - 2 * phi * down * base_up + base_up**2))
    above = math.sqrt(max(0.0, up**2 - 2 * phi * up * base_down + base_down**2))
    found = share - base
    return Interval(found, max(-1.0, found - below), min(1.0, found + above), len(one))


def _phi(one: np.ndarray, other: np.ndarray, weights: np.ndarray, rows: float) -> float:
    """The correlation of the two, with Newcombe's continuity correction."""
    both, neither = float(weights @ (one & other)), float(weights @ (~one & ~other))
    only_one, only_other = float(weights @ (one & ~other)), float(weights @ (~one & other))
    margins = (
        (both + only_one) * (only_other + neither) * (both + only_other) * (only_one + neither)
    )
    if margins <= 0:
        return 0.0
    excess = both * neither - only_one * only_other
    return (excess if excess < 0 else max(0.0, excess - 0.5 / rows)) / math.sqrt(margins)


def _judged(
    worse: bool, difference: Interval, metrics: dict[str, Any], policy: GatePolicy
) -> Verdict:
    told = (
        f"right on {metrics['challenger_accuracy']:.3f} of {difference.rows} rows, the champion on "
        f"{metrics['champion_accuracy']:.3f}: {difference.value:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}], p = {metrics['p_value']:.3g}"
    )
    if worse:
        return Verdict(REJECT, [f"significantly worse: {told}"], metrics)
    against = [f"significantly worse on {group}" for group in metrics["worse_groups"]]
    if difference.value <= policy.min_gain:
        against.append(f"the gain is not above {policy.min_gain:g}")
    if difference.low <= -policy.margin:
        against.append(f"a loss of {policy.margin:g} or more cannot be excluded")
    if against:
        return Verdict(HOLD, [*against, told], metrics)
    return Verdict(PROMOTE, [told], metrics)


def _first(
    own: Interval, truths: Sequence[str], weights: np.ndarray, metrics: dict[str, Any]
) -> Verdict:
    names = np.asarray(truths, dtype=object)
    guess = max(float(weights[names == name].sum()) for name in set(truths))
    metrics = {**metrics, "most_frequent_class": guess}
    told = (
        f"no champion yet; accuracy {own} on {own.rows} rows, the most frequent class {guess:.3f}"
    )
    if own.low > guess:
        return Verdict(PROMOTE, [told], metrics)
    return Verdict(HOLD, ["not shown to be better than always the same answer", told], metrics)


def _is_worse(
    challenger: np.ndarray, champion: np.ndarray, weights: np.ndarray, alpha: float
) -> bool:
    if paired_difference(challenger, champion, weights=weights, alpha=alpha).high >= 0:
        return False
    return challenger.sum() >= champion.sum() or mcnemar(challenger, champion) < alpha


def _worse_groups(
    truths: Sequence[str],
    slices: Sequence[str] | None,
    challenger: np.ndarray,
    champion: np.ndarray,
    weights: np.ndarray,
    policy: GatePolicy,
) -> list[str]:
    """The classes and slices on which the challenger is significantly worse."""
    groups = {f"class {name}": np.asarray(truths, object) == name for name in sorted(set(truths))}
    for name in sorted(set(slices)) if slices is not None else []:
        groups[f"slice {name}"] = np.asarray(slices, object) == name
    large = {name: rows for name, rows in groups.items() if rows.sum() >= policy.min_slice_rows}
    return [
        f"{name} ({champion[rows].mean():.3f} -> {challenger[rows].mean():.3f}, {rows.sum()} rows)"
        for name, rows in large.items()
        if _is_worse(challenger[rows], champion[rows], weights[rows], policy.alpha / len(large))
    ]


def _doubts(
    truths: Sequence[str],
    challenger_probs: np.ndarray,
    champion_probs: np.ndarray | None,
    classes: Sequence[str],
    policy: GatePolicy,
) -> list[str]:
    """Why these numbers are no evidence; empty when they are."""
    found = []
    if len(truths) < policy.min_rows:
        found.append(f"{len(truths)} audit rows; {policy.min_rows} are needed: label more of them")
    strange = [truth for truth in truths if truth not in set(classes)]
    if strange:
        found.append(f"{len(strange)} truths are no class, such as {strange[0]!r}")
    shape = len(truths), len(classes)
    found += _strange_answers("challenger", challenger_probs, shape)
    if champion_probs is not None:
        found += _strange_answers("champion", champion_probs, shape)
    return found


def _strange_answers(who: str, probs: np.ndarray, shape: tuple[int, int]) -> list[str]:
    if np.shape(probs) != shape:
        return [f"the {who}'s probabilities are {np.shape(probs)}; {shape} is needed"]
    broken = int((~np.isfinite(probs).all(axis=1)).sum())
    if broken:
        return [f"the {who} gave no finite answer for {broken} of {len(probs)} rows"]
    if (probs < 0).any() or (np.abs(probs.sum(axis=1) - 1) > OFF_BY).any():
        return [f"the {who}'s rows are no probabilities: they do not sum to one"]
    return []


def _strange_rows(
    rows: int, slices: Sequence[str] | None, inclusion_probability: np.ndarray | None
) -> list[str]:
    found = []
    if slices is not None and len(slices) != rows:
        found.append(f"there are {len(slices)} slice names for {rows} rows")
    if inclusion_probability is not None:
        drawn = np.asarray(inclusion_probability, dtype=float)
        if len(drawn) != rows or not ((drawn > 0) & (drawn <= 1)).all():
            found.append("inclusion probabilities are not one for each row, above 0 and up to 1")
    return found


def _weights(rows: int, inclusion_probability: np.ndarray | None) -> np.ndarray:
    """What each row stands for: the inverse of its inclusion probability, summing to one."""
    if inclusion_probability is None:
        return np.full(rows, 1 / rows)
    drawn = np.asarray(inclusion_probability, dtype=float)
    if len(drawn) != rows or not ((drawn > 0) & (drawn <= 1)).all():
        raise ValueError(
            f"{rows} inclusion probabilities above 0 and up to 1 are needed; "
            f"there are {len(drawn)}, from {drawn.min(initial=1):g} to {drawn.max(initial=0):g}"
        )
    return (1 / drawn) / (1 / drawn).sum()


def _kish(weights: np.ndarray) -> float:
    """How many equally weighted rows would tell as much."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _told(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
