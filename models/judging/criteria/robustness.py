"""Whether the challenger bears corrupted images as well as the champion."""

import math

from models.judging.corruptions import POOLED
from models.judging.criterion import Criterion, Status, bounds
from models.judging.gate_evidence import Evidence
from models.judging.verdict import GatePolicy

ONE_KIND = 2  # margins that one kind of corruption may lose


def robustness(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """No loss above `robustness_margin` is shown on all corruptions together, nor twice it on one.

    Networks that are trained alike often differ by the margin under a single kind. The level is
    divided by the number of intervals by whoever measures them.
    """
    if evidence.champion is None:
        return []
    if not evidence.robustness:
        return [Criterion("robustness", Status.UNKNOWN, "corrupted images were not scored",
                          threshold=-policy.robustness_margin,
                          remedy="judge again: `hone retrain`")]  # fmt: skip
    measured = evidence.robustness
    broken = [name for name, one in measured.items() if not math.isfinite(one.value)]
    lost = [name for name, one in measured.items()
            if one.value < -_margin(name, policy) and one.high < 0]  # fmt: skip
    name = (broken or lost or [min(measured, key=lambda kind: measured[kind].value)])[0]
    worst = measured[name]
    what = f"on corrupted images ({name}) {worst.value:+.3f} [{worst.low:+.3f}, {worst.high:+.3f}]"
    status = Status.UNKNOWN if broken else Status.FAIL if lost else Status.PASS
    numbers = {"rows": worst.rows} if broken else bounds(worst)
    what = f"{what}, the worst of {len(measured)}" if not lost else (
        f"{what}: loses more than {_margin(lost[0], policy):g} on {', '.join(lost)}")  # fmt: skip
    remedy = "" if status == Status.PASS else "training with more augmentation, or more labels"
    return [Criterion("robustness", status, what, population=name,
                      threshold=-policy.robustness_margin, remedy=remedy, **numbers)]  # fmt: skip


def _margin(name: str, policy: GatePolicy) -> float:
    return policy.robustness_margin * (1 if name == POOLED else ONE_KIND)
