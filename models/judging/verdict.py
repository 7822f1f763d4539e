"""The verdict on a challenger, and the policy that it follows."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from core.configuration import configuration
from models.judging.criterion import Criterion, Status, criterion_of


class Outcome(StrEnum):
    """What is to be done with a challenger."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    REJECT = "REJECT"


@configuration("gate")
class GatePolicy:
    """When a challenger takes the champion's place."""

    min_rows: int = Field(  # below, 95 % intervals are wider than 35 points and decide nothing
        default=30, ge=1, description="gate rows of the audit below which the verdict is HOLD"
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="of the intervals and of the tests that hold back"
    )
    life_alpha: float = Field(
        default=0.05, gt=0, lt=0.5,
        description="chance that evidence ever promotes what is no better, in a workspace's life",
    )  # fmt: skip
    population: Literal["pool", "traffic", "both"] = Field(
        default="both",
        description="what the champion must be beaten on; both: on one, with no loss on the other",
    )
    mode: Literal["better", "not-worse"] = Field(
        default="better", description="what must be shown: a gain, or no loss of the margin"
    )
    margin: float = Field(
        default=0.02, gt=0, lt=1, description="loss of accuracy that must be excluded"
    )
    min_gain: float = Field(  # a release that costs much may ask for more
        default=0.0, ge=0, lt=1, description="the gain of accuracy must be larger"
    )
    most_answers: int = Field(
        default=400, ge=0, description="answers that end a duel with HOLD; 0: no duels, only audit"
    )
    duel_batch: int = Field(  # after each batch the duel may end: 25 are some minutes of work
        default=25, ge=1, description="samples of a duel that are asked at once"
    )
    class_margin: float = Field(
        default=0.2, gt=0, lt=1, description="loss on a class or slice that rows should exclude"
    )
    strict_groups: bool = Field(
        default=False, description="hold while rows of a class or slice are too few to exclude it"
    )
    first_accuracy: float = Field(
        default=0.5, ge=0, lt=1, description="the first model's accuracy must be above, with 95 %"
    )
    least_accuracy: float = Field(
        default=0.0, ge=0, lt=1, description="every model's accuracy must be above, with 95 %"
    )
    class_accuracy: float = Field(
        default=0.0, ge=0, lt=1, description="accuracy that every class must reach"
    )
    calibration_margin: float = Field(
        default=0.05, gt=0, le=1, description="rise of the calibration error that holds back"
    )
    robustness_margin: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="loss of accuracy on corrupted images that holds back; twice it on one kind",
    )
    latency_ms: float = Field(
        default=0.0, ge=0, description="milliseconds in which 95 % of images must be done; 0: any"
    )
    size_mb: float = Field(default=0.0, ge=0, description="megabytes of the weights; 0: any")


@dataclass(frozen=True)
class Verdict:
    """The outcome for a challenger, its reasons as sentences, and the numbers behind them."""

    outcome: Outcome
    reasons: list[str]
    metrics: dict[str, Any] = field(default_factory=dict)  # JSON: stored with the verdict
    criteria: tuple[Criterion, ...] = ()


def stored_verdict(outcome: str, reasons: list[str], metrics: dict[str, Any]) -> Verdict:
    """A verdict as it was recorded; older ones have no criteria."""
    criteria = tuple(criterion_of(row) for row in metrics.get("criteria", ()))
    return Verdict(Outcome(outcome), list(reasons), dict(metrics), criteria)


def outcome_of(criteria: tuple[Criterion, ...]) -> Outcome:
    """REJECT where one fails that rejects, HOLD where any is not met, else PROMOTE.

    Without criteria nothing is known: HOLD.
    """
    if any(one.rejects and one.status == Status.FAIL for one in criteria):
        return Outcome.REJECT
    met = bool(criteria) and all(one.status == Status.PASS for one in criteria)
    return Outcome.PROMOTE if met else Outcome.HOLD
