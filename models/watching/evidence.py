"""Evidence of many signals and many checks in one number, and the budget of false alarms.

Each signal is an e-value of its window: at most 1 in mean while the traffic is clean. A CUSUM
multiplies them and starts again from 1 where it would fall below (an e-detector). The weighted mean
over signals of exp(accumulated) is one e-detector too, so one threshold covers all of them: in n
checks of clean traffic, n / threshold alarms are expected at most.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.watching.signals import Signal, WatchPolicy

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


def from_p_value(p_value: float) -> float:
    """The evidence of a p-value: the logarithm of KAPPA * p ** (KAPPA - 1); 0 of NaN."""
    if math.isnan(p_value):
        return 0.0
    return min(math.log(KAPPA) + (KAPPA - 1) * math.log(max(p_value, 1e-300)), MOST)


def accumulate(before: float, evidence: float) -> float:
    """What a signal has accumulated after a window: it starts again where it fell below 1."""
    return min(evidence + max(before, 0.0), MOST)


def combine(signals: Sequence[Signal], policy: WatchPolicy, checks: int) -> Combined:
    """The evidence of the signals together; `checks` were made in the last 90 days, this included.

    More checks than the period plans raise the threshold, so `spent` never exceeds the budget.
    """
    limit = max(policy.checks_planned, checks, 1.0) / policy.alarms_per_quarter
    limit = max(limit, 1.0)
    weighed = [signal for signal in signals if signal.weight > 0]
    ranked = sorted(weighed, key=lambda one: -(one.accumulated + math.log(one.weight)))
    total = -math.inf
    if weighed:
        weights = np.array([signal.weight for signal in weighed])
        logs = np.array([min(signal.accumulated, MOST) for signal in weighed])
        total = float(np.logaddexp.reduce(logs + np.log(weights / weights.sum())))
    return Combined(
        log_evidence=total,
        threshold=math.log(limit),
        alarm=total >= math.log(limit),
        spent=checks / limit,
        ranking=tuple(signal.name for signal in ranked),
    )


def restarted(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a detector whose evidence was answered: nothing is accumulated."""
    return {**state, "accumulated": {}}
