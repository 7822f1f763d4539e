"""Whether the challenger's confidence can be trusted as much as the champion's."""

import math

from models.judging.calibration import calibration_difference, expected_calibration_error
from models.judging.criterion import Criterion, Status, bounds
from models.judging.gate_evidence import Evidence
from models.judging.verdict import GatePolicy


def calibration(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """The expected calibration error is not shown to rise by more than `calibration_margin`."""
    population = evidence.population(policy.population)
    rows = evidence.rows.get(population)
    if rows is None or rows.champion is None:
        return []
    own = expected_calibration_error(
        rows.challenger.outputs, rows.truths, evidence.classes, kind=evidence.kind,
        alpha=policy.alpha,
    )  # fmt: skip
    rise = calibration_difference(
        rows.challenger.outputs, rows.champion.outputs, rows.truths, evidence.classes,
        kind=evidence.kind, alpha=policy.alpha,
    )  # fmt: skip
    what = f"calibration error {own}, {rise.value:+.3f} [{rise.low:+.3f}, {rise.high:+.3f}]"
    what += " against the champion's"
    status = Status.PASS
    if not math.isfinite(rise.value):
        status, what = Status.UNKNOWN, "the calibration error could not be measured"
    elif rise.low > 0 and rise.value > policy.calibration_margin:
        status, what = Status.FAIL, f"less calibrated: {what}"
    numbers = {} if status == Status.UNKNOWN else bounds(rise)
    remedy = "" if status == Status.PASS else "more validation rows to fit the temperature on"
    return [Criterion("calibration", status, what, population=population,
                      threshold=policy.calibration_margin, remedy=remedy, **numbers)]  # fmt: skip
