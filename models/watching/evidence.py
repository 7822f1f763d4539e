"""Evidence of many signals and many checks in one number, and the budget of false alarms.

Each signal is an e-value of its window: at most 1 in mean while the traffic is clean. A CUSUM
multiplies them and starts again from 1 where it would fall below (an e-detector). The weighted mean
over signals of exp(accumulated) is one e-detector too, so one threshold covers all of them: in n
checks of clean traffic, n / threshold alarms are expected at most. The weights do not depend on
which signals could tell: one that is missing counts as 0, or each mix of signals that comes by
itself, outcomes that are late for example, would have a budget of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.watching.signals import Family, Signal, WatchPolicy

KAPPA = 0.3  # of p ** (KAPPA - 1): strong for small p-values, never below KAPPA
MOST = 300.0  # of the evidence of a window, and of what is accumulated: exp() stays finite


@dataclass(frozen=True)
class Combined:
    """The evidence of all signals after a check, against the budget."""

    log_evidence: float  # natural logarithm, like `threshold`
    threshold: float
    alarm: bool
    spent: float  # bound on the false alarms expected from the checks of the last 90 days
    ranking: tuple[str, ...]  # names of the signals, the largest share of the evidence first
    decay: bool = False  # outcomes alone are the alarm: within the same budget


def from_p_value(p_value: float) -> float:
    """The evidence of a p-value: the logarithm of KAPPA * p ** (KAPPA - 1); 0 of NaN."""
    if math.isnan(p_value):
        return 0.0
    return min(math.log(KAPPA) + (KAPPA - 1) * math.log(max(p_value, 1e-300)), MOST)


def accumulate(before: float, evidence: float) -> float:
    """What a signal has accumulated after a window: it starts again where it fell below 1."""
    return min(evidence + max(before, 0.0), MOST)


def combine(
    signals: Sequence[Signal],
    policy: WatchPolicy,
    checks: int,
    weights: Mapping[str, float] | None = None,
) -> Combined:
    """The evidence of the signals together; `checks` were made in the last 90 days, this included.

    `weights` are those of all signals that there may be, by default of these. More checks than the
    period plans raise the threshold, so `spent` never exceeds the budget.
    """
    limit = max(policy.checks_planned, checks, 1.0) / policy.alarms_per_quarter
    limit = max(limit, 1.0)
    weighed = [signal for signal in signals if signal.weight > 0]
    ranked = sorted(weighed, key=lambda one: -(one.accumulated + math.log(one.weight)))
    whole = sum(one.weight for one in weighed) if weights is None else sum(weights.values())
    outcomes = [signal for signal in weighed if signal.family == Family.OUTCOMES]
    total = _share(weighed, whole)
    return Combined(
        log_evidence=total,
        threshold=math.log(limit),
        alarm=total >= math.log(limit),
        spent=checks / limit,
        ranking=tuple(signal.name for signal in ranked),
        decay=_share(outcomes, whole) >= math.log(limit),
    )


def _share(signals: Sequence[Signal], whole: float) -> float:
    """The logarithm of what signals add to the mean over weights that sum up to `whole`."""
    if not signals:
        return -math.inf
    logs = [min(one.accumulated, MOST) + math.log(one.weight / whole) for one in signals]
    return float(np.logaddexp.reduce(logs))


def known_weights(
    before: Mapping[str, Any], signals: Sequence[Signal], policy: WatchPolicy
) -> dict[str, Any]:
    """The weights of all signals that there were since the detectors were chosen, as JSON."""
    chosen = list(policy.detectors)
    weights = dict(before["of"]) if before.get("detectors") == chosen else {}
    for one in signals:
        weights[one.name] = max(weights.get(one.name, 0.0), one.weight)
    return {"detectors": chosen, "of": weights}


def restarted(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a detector whose evidence was answered: nothing is accumulated."""
    return {**state, "accumulated": {}}
