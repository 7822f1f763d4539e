"""One criterion of a verdict: what was measured, against which threshold, and what it says."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from core.intervals import Interval


class Status(StrEnum):
    """Whether a criterion is met. UNKNOWN: the evidence is missing, and the verdict is HOLD."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Criterion:
    """One criterion, with the numbers it rests on and a sentence for each of why and what next."""

    name: str
    status: Status
    evidence: str
    population: str = ""  # the rows it is about: pool, traffic, class cat, origin served
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    rows: int = 0
    remedy: str = ""  # what would change the status
    rejects: bool = False  # a FAIL is REJECT, not HOLD

    def as_row(self) -> dict[str, Any]:
        """The criterion as JSON: it is stored with the verdict."""
        return {**asdict(self), "status": str(self.status)}


def criterion_of(row: Mapping[str, Any]) -> Criterion:
    """The criterion that `as_row` wrote; fields that a newer version wrote are left out."""
    known = {name: row[name] for name in Criterion.__dataclass_fields__ if name in row}
    return Criterion(**{**known, "status": Status(row["status"])})


def bounds(interval: Interval) -> dict[str, Any]:
    """The fields of a criterion that an interval fills."""
    return {"value": interval.value, "low": interval.low, "high": interval.high,
            "rows": interval.rows}  # fmt: skip
