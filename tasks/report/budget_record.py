"""The learning curve as it was computed last, for pages that compute nothing themselves."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.database import now
from core.files import write_atomically
from labeling.budget.learning_curve import TAIL, CurvePoint, LearningCurve
from labeling.budget.report import BudgetReport

NAME = "budget.json"
PLACES = 48  # at which the curve is stored
LARGEST = 2**20  # bytes of a record: a larger file is none


@dataclass(frozen=True)
class BudgetRecord:
    """A forecast as `hone budget` or a training made it last."""

    at: str
    snapshot: str
    labels: int
    audit_rows: int
    models: int
    advice: str
    reason: str
    points: list[CurvePoint]
    curve: list[tuple[float, float, float, float]]  # labels, accuracy, low, high
    ahead: list[tuple[int, float, float, float]]  # more labels, points gained, low, high


def save_budget(curve: LearningCurve, report: BudgetReport) -> None:
    """Write the record beside the picture of the report."""
    last = curve.labels + max(row.more for row in report.forecasts)
    along = np.geomspace(min(point.labels for point in curve.points), last, PLACES)
    errors = curve.errors(along)
    low, high = np.percentile(1 - errors, [TAIL, 100 - TAIL], axis=0)
    rows = np.column_stack([along, 1 - errors[0], low, high])
    record = {
        "at": now(), "snapshot": report.snapshot, "labels": report.labels,
        "audit_rows": report.audit_rows, "models": report.models, "advice": report.advice,
        "reason": report.reason, "points": [vars(point) for point in report.points],
        "curve": rows.tolist(),
        "ahead": [[row.more, row.gain, row.gain_low, row.gain_high] for row in report.forecasts],
    }  # fmt: skip
    content = json.dumps(record, indent=1, sort_keys=True).encode()
    write_atomically(Path(report.picture).with_name(NAME), content)


def load_budget(runs: Path) -> BudgetRecord | None:
    """The record in the folder; None where there is none, or where it is damaged."""
    path = runs / NAME
    try:
        if path.stat().st_size > LARGEST:
            return None
        written = json.loads(path.read_bytes())
        numbers = {name: [tuple(map(float, row)) for row in written[name]]
                   for name in ("curve", "ahead")}  # fmt: skip
        points = [
            CurvePoint(int(one["labels"]), float(one["accuracy"]), float(one["deviation"]),
                       bool(one["model"]))
            for one in written["points"]
        ]  # fmt: skip
        words = {name: str(written[name]) for name in ("at", "snapshot", "advice", "reason")}
        counts = {name: int(written[name]) for name in ("labels", "audit_rows", "models")}
        rows = [row for part in numbers.values() for row in part]
        if not all(len(row) == 4 and np.isfinite(row).all() and row[0] > 0 for row in rows):
            return None
        return BudgetRecord(**words, **counts, points=points, **numbers)  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
