"""The verdict of a comparison, and the policy that it follows."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import Field

from core.configuration import configuration


class Outcome(StrEnum):
    """What is to be done with a challenger."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    REJECT = "REJECT"


@configuration("gate")
class GatePolicy:
    """When a challenger takes the champion's place."""

    min_rows: int = Field(  # below, 95 % intervals are wider than 25 points and decide nothing
        default=50, ge=1, description="audit samples below which the verdict is HOLD"
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="of the intervals and tests, two-sided"
    )
    margin: float = Field(
        default=0.02, gt=0, lt=1, description="loss of accuracy that must be excluded"
    )
    min_gain: float = Field(  # a release that costs much may ask for more
        default=0.0, ge=0, lt=1, description="the gain of accuracy must be larger"
    )
    min_slice_rows: int = Field(
        default=30, ge=1, description="rows below which a class or slice is not judged by itself"
    )


@dataclass(frozen=True)
class Verdict:
    """The outcome for a challenger, its reasons as sentences, and the numbers behind them."""

    outcome: Outcome
    reasons: list[str]
    metrics: dict[str, Any] = field(default_factory=dict)  # JSON: kept with the verdict
