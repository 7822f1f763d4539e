"""The gate: every criterion on the evidence, and the verdict that follows from them."""

from dataclasses import asdict
from typing import Any

import numpy as np

from core.intervals import Interval, mean_interval
from models.judging.compare import compare, sign_test
from models.judging.criteria import CRITERIA, GAIN, ROWS
from models.judging.criteria.groups import cells_of
from models.judging.criterion import Criterion, Status
from models.judging.gate_evidence import Evidence, Rows
from models.judging.verdict import GatePolicy, Verdict, outcome_of


def decide(evidence: Evidence, policy: GatePolicy) -> Verdict:
    """The verdict on a challenger: what is missing, too little or not finite never promotes."""
    criteria = _criteria(evidence, policy)
    metrics = _metrics(evidence, policy, comparable=criteria[0].status != Status.FAIL)
    if any(one.name == GAIN for one in criteria):
        metrics["number"] = evidence.number
        metrics["groups"] = cells_of(evidence, list(evidence.rows.values()))
    metrics["policy"] = asdict(policy)  # type: ignore[call-overload]
    return conclude(criteria, metrics)


def conclude(criteria: tuple[Criterion, ...], metrics: dict[str, Any]) -> Verdict:
    """The verdict that follows from these criteria, stored in it; `metrics` are figures beside."""
    stored = {**metrics, "criteria": [one.as_row() for one in criteria]}
    return Verdict(outcome_of(criteria), _reasons(criteria, stored), stored, criteria)


def _criteria(evidence: Evidence, policy: GatePolicy) -> tuple[Criterion, ...]:
    """All criteria; the first one alone where the rows cannot be compared."""
    first = CRITERIA[ROWS](evidence, policy)
    if any(one.status != Status.PASS for one in first):
        return tuple(first)
    others = (one for name, measure in CRITERIA.items() if name != ROWS
              for one in measure(evidence, policy))  # fmt: skip
    return (*first, *others)


def _reasons(criteria: tuple[Criterion, ...], metrics: dict[str, Any]) -> list[str]:
    """What stands against a promotion, else what speaks for it; the figures at the end."""
    against = [one for one in criteria if one.status != Status.PASS]
    against.sort(key=lambda one: (not one.rejects, one.status != Status.FAIL))
    decisive = against or [one for one in criteria if one.name in (GAIN, "first_accuracy")]
    return [*(one.evidence for one in decisive), *_figures(metrics)]


def _figures(metrics: dict[str, Any]) -> list[str]:
    if "challenger_accuracy" not in metrics or "champion_accuracy" not in metrics:
        return []
    rows = metrics["rows"]
    challenger, champion, difference = (
        Interval(metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"], rows)
        for name in ("challenger_accuracy", "champion_accuracy", "difference")
    )
    return [
        f"accuracy {challenger} on {rows} gate rows of the {metrics['population']}, the champion's "
        f"{champion}: {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    ]


def _metrics(evidence: Evidence, policy: GatePolicy, *, comparable: bool) -> dict[str, Any]:
    """The figures of the rows that the policy names first, for those who read a verdict."""
    population = evidence.population(policy.population)
    rows = evidence.rows.get(population)
    metrics: dict[str, Any] = {"rows": 0 if rows is None else len(rows), "population": population}
    if rows is None or not len(rows) or not comparable:
        return metrics
    if evidence.champion is None:
        return metrics | _first(evidence, rows, policy)
    credits = evidence.credits(rows)
    result = compare(*credits, alpha=policy.alpha)
    return metrics | {
        **_numbers("challenger_accuracy", result.challenger),
        **_numbers("champion_accuracy", result.champion),
        **_numbers("difference", result.difference),
        "p_value": sign_test(*credits),
        "only_challenger_right": result.only_challenger,
        "only_champion_right": result.only_champion,
    }


def _first(evidence: Evidence, rows: Rows, policy: GatePolicy) -> dict[str, Any]:
    credit = evidence.kind.credit(rows.challenger.outputs, rows.truths, evidence.classes)
    constant = evidence.kind.constant_credit(rows.truths, np.full(len(rows), 1 / len(rows)))
    accuracy = mean_interval(credit, alpha=policy.alpha)
    return {**_numbers("challenger_accuracy", accuracy), "most_frequent_class": constant}


def _numbers(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
