"""What a check makes of its signals: the kind of drift with its remedies, and the accuracy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from core.intervals import Interval
from models.watching.accuracy_estimate import AccuracyEstimate, estimate_accuracy
from models.watching.drift_kinds import KindOfDrift, kind_of_drift
from models.watching.signals import Family, WatchPolicy
from tasks.context import Context
from tasks.watch.judged import accuracy_since
from tasks.watch.measure import OUTCOMES, Measured, seed_of

MEASURED_DAYS = 7  # of truths that an accuracy in service is measured by
T = TypeVar("T")


@dataclass(frozen=True)
class Diagnosis:
    """The kind of drift where there is an alarm, and the accuracy in service."""

    kind: KindOfDrift | None = None
    estimate: AccuracyEstimate | None = None
    measured: Interval | None = None  # by truths

    @property
    def accuracy_high(self) -> float | None:
        """The upper end of the accuracy's interval: by truths where there are enough of them."""
        if self.measured is not None:
            return self.measured.high
        return self.estimate.high if self.estimate is not None else None

    def as_json(self) -> dict[str, Any]:
        """What is recorded with the decision."""
        shown: dict[str, Any] = {}
        if self.measured is not None:
            shown["measured_accuracy"] = f"{self.measured} on {self.measured.rows} truths"
        if self.estimate is not None:
            figures = {name: getattr(self.estimate, name) for name in ("value", "low", "high")}
            shown |= {
                f"estimated_accuracy_{name}": None if one is None else round(float(one), 4)
                for name, one in figures.items()
                if one is None or math.isfinite(one)
            }
            shown["estimate"] = self.estimate.meaning
        if self.kind is not None:
            shown["kind_evidence"] = list(self.kind.evidence)
            shown["remedies"] = list(self.kind.remedies)
        return shown


def diagnose(ctx: Context, measured: Measured, policy: WatchPolicy) -> Diagnosis:
    """The kind of what drifted, and how right the model is; each None where it cannot be told."""
    since = (datetime.now(UTC) - timedelta(days=MEASURED_DAYS)).isoformat()
    with ctx.engine.connect() as connection:
        by_truths = accuracy_since(connection, measured.model, since)
    if measured.states.get(OUTCOMES, {}).get("selected"):
        by_truths = None  # of doubtful images: how right the model is on them says too little
    traffic, reference = measured.traffic, measured.reference
    if traffic is None or reference is None:
        return Diagnosis(measured=by_truths)
    past, window, judged = reference.window, traffic.window, measured.judged
    rng = seed_of(measured.new)
    estimate = _or_none(
        lambda: estimate_accuracy(
            past, window, policy=policy, rng=rng, judged=judged, copies=reference.copies
        )
    )
    kind = None
    if measured.combined.alarm or measured.declined:
        service = [one for one in measured.signals if one.family == Family.SERVICE]
        kind = _or_none(
            lambda: kind_of_drift(
                past, window, policy=policy, rng=rng, judged=judged, service=service
            )
        )
    return Diagnosis(kind, estimate, by_truths)


def _or_none(compute: Callable[[], T]) -> T | None:
    """The result; None when it fails, with a line: a decision does not wait for a diagnosis."""
    try:
        return compute()
    except Exception as error:
        print(f"a diagnosis failed: {error}")
        return None
