"""What a model costs to serve, against the budget of the policy."""

from typing import Any

from models.judging.criterion import Criterion, Status
from models.judging.gate_evidence import Evidence
from models.judging.verdict import GatePolicy


def latency(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """The processor time in which 95 % of single images are done here, as they are served."""
    speed, budget = evidence.challenger.speed, policy.latency_ms
    if speed is None:
        return _not_measured("latency", budget)
    numbers: dict[str, Any] = {
        "value": speed.p95_ms,
        "low": speed.p95_low_ms,
        "high": speed.p95_high_ms,
        "threshold": budget or None,
        "rows": speed.runs,
    }
    what = f"95 % of images take {speed.runtime} up to {speed.p95_ms:.1f} ms"
    if budget and speed.p95_ms > budget:
        remedy = f"a smaller network, or [gate] latency_ms above {speed.p95_ms:.0f}"
        return [Criterion("latency", Status.FAIL, f"{what}, the budget is {budget:g} ms",
                          **numbers, remedy=remedy)]  # fmt: skip
    return [Criterion("latency", Status.PASS, what, **numbers)]


def size(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """The megabytes of the weights, as they are packaged."""
    speed, budget = evidence.challenger.speed, policy.size_mb
    if speed is None:
        return _not_measured("size", budget)
    what = f"the weights have {speed.size_mb:.1f} MB"
    numbers: dict[str, Any] = {"value": speed.size_mb, "threshold": budget or None}
    if budget and speed.size_mb > budget:
        remedy = f"a smaller network, or [gate] size_mb above {speed.size_mb:.0f}"
        return [Criterion("size", Status.FAIL, f"{what}, the budget is {budget:g} MB",
                          **numbers, remedy=remedy)]  # fmt: skip
    return [Criterion("size", Status.PASS, what, **numbers)]


def _not_measured(name: str, budget: float) -> list[Criterion]:
    if not budget:
        return []
    return [Criterion(name, Status.UNKNOWN, f"the {name} was not measured", threshold=budget,
                      remedy="judge again: `hone retrain`")]  # fmt: skip
