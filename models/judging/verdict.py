"""What a comparison concludes, and the policy that it follows."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What is to be done with a challenger."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    REJECT = "REJECT"


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
    """What was decided about a challenger, in sentences a person can check, with the numbers."""

    outcome: Outcome
    reasons: list[str]
    metrics: dict[str, Any] = field(default_factory=dict)  # JSON: kept with the verdict
