"""Absolute bars: how right a model must be, whatever the champion is."""

from collections.abc import Iterator

import numpy as np

from core.intervals import Interval, mean_interval, share_bounds
from models.judging.criterion import Criterion, Status, bounds
from models.judging.gate_evidence import Evidence, Rows
from models.judging.verdict import GatePolicy


def first_accuracy(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """The first model: surely above `first_accuracy`, and above always the same answer."""
    if evidence.champion is not None:
        return []
    return [
        _above("first_accuracy", population, _accuracy(evidence, rows, policy),
               {"the bar of the first model": policy.first_accuracy,
                "the most frequent class": _constant(evidence, rows)})
        for population, rows in _judged_on(evidence, policy)
    ]  # fmt: skip


def least_accuracy(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """Every model: surely above `least_accuracy`; 0 is no bar."""
    if not policy.least_accuracy:
        return []
    return [
        _above("least_accuracy", population, _accuracy(evidence, rows, policy),
               {"the bar of every model": policy.least_accuracy})
        for population, rows in _judged_on(evidence, policy)
    ]  # fmt: skip


def class_accuracy(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """Every class: at `class_accuracy` or above on its rows; 0 is no bar."""
    if not policy.class_accuracy:
        return []
    return [
        _class_bar(f"class {name}", credit, policy)
        for _, rows in _judged_on(evidence, policy)[:1]
        for name, credit in _class_credits(evidence, rows)
    ]


def _judged_on(evidence: Evidence, policy: GatePolicy) -> list[tuple[str, Rows]]:
    """The populations of the policy that have enough rows to speak."""
    named = evidence.population(policy.population)
    return [
        (population, rows)
        for population, rows in evidence.rows.items()
        if (policy.population == "both" or population == named) and len(rows) >= policy.min_rows
    ]


def _above(name: str, population: str, accuracy: Interval, bars: dict[str, float]) -> Criterion:
    reason, bar = max(bars.items(), key=lambda entry: entry[1])
    what = f"accuracy {accuracy} on {accuracy.rows} rows of the {population}"
    numbers = {"population": population, "threshold": bar, **bounds(accuracy)}
    if accuracy.low > bar:
        return Criterion(name, Status.PASS, f"{what}, above {bar:.3f}, {reason}", **numbers)
    if accuracy.high < bar:
        return Criterion(name, Status.FAIL, f"{what}, below {bar:.3f}, {reason}", **numbers,
                         remedy="more labels to train on")  # fmt: skip
    more = _rows_to_exceed(accuracy, bar)
    remedy = f"about {more} more audit labels, if it is as right on them" if more else (
        "more labels to train on")  # fmt: skip
    return Criterion(name, Status.UNKNOWN, f"{what}, not shown to be above {bar:.3f}, {reason}",
                     **numbers, remedy=remedy)  # fmt: skip


def _rows_to_exceed(accuracy: Interval, bar: float) -> int:
    """How many more rows would put the lower bound above the bar; 0 where none would."""
    rows = accuracy.rows
    while accuracy.value > bar and rows < 100_000:
        rows = int(rows * 1.1) + 1
        if share_bounds(accuracy.value, rows)[0] > bar:
            return rows - accuracy.rows
    return 0


def _class_bar(population: str, credit: np.ndarray, policy: GatePolicy) -> Criterion:
    bar, count = policy.class_accuracy, len(credit)
    if not count:
        return Criterion("class_accuracy", Status.UNKNOWN, f"no row of {population}",
                         population, threshold=bar, remedy=f"audit labels of {population}",
                         )  # fmt: skip
    accuracy = mean_interval(credit, alpha=policy.alpha)
    numbers = {"population": population, "threshold": bar, **bounds(accuracy)}
    what = f"accuracy {accuracy} on {count} rows of {population}"
    if accuracy.value >= bar:
        return Criterion("class_accuracy", Status.PASS, what, **numbers)
    status = Status.FAIL if accuracy.high < bar else Status.UNKNOWN
    return Criterion("class_accuracy", status, f"{what}, the bar is {bar:g}", **numbers,
                     remedy=f"more labels of {population}")  # fmt: skip


def _class_credits(evidence: Evidence, rows: Rows) -> Iterator[tuple[str, np.ndarray]]:
    credit = _credit(evidence, rows)
    truths = evidence.kind.class_numbers(rows.truths, evidence.classes)
    for number, name in enumerate(evidence.classes):
        yield name, credit[truths == number]


def _accuracy(evidence: Evidence, rows: Rows, policy: GatePolicy) -> Interval:
    return mean_interval(_credit(evidence, rows), alpha=policy.alpha)


def _constant(evidence: Evidence, rows: Rows) -> float:
    return evidence.kind.constant_credit(rows.truths, np.full(len(rows), 1 / len(rows)))


def _credit(evidence: Evidence, rows: Rows) -> np.ndarray:
    return evidence.kind.credit(rows.challenger.outputs, rows.truths, evidence.classes)
