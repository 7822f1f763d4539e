"""How the loop stands, as Prometheus reads it: pool, labels, accuracy, signals, budget, runs.

All of it is in the database or on the workspace's disk, so a process of its own reads it (`hone
metrics`), and the service, which answers without a database, does not.
"""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from models.registry.overview import Accuracy
from models.serving.prediction_store import traffic_bytes
from models.watching.drift_kinds import DriftKind
from models.watching.incidents import open_incident_of
from models.watching.ladder import Step
from models.watching.outcome_queries import counts_by_period, outcome_counts
from models.watching.performance import Cell, performance
from models.watching.signals import Signal
from tasks.context import Context
from tasks.operate.status import Status, load_status
from tasks.scenes import share_of_scenes

HOURS = 24  # with a truth, from which accuracy is shown
SECONDS = 10.0  # that a reading is good for, however many ask


@dataclass(frozen=True)
class Reading:
    """A number of the loop under its name, with what tells it from others of that name."""

    name: str
    meaning: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


Reader = Callable[[Context, Status], Iterator[Reading]]


def exposition(ctx: Context) -> bytes:
    """The numbers of now in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Families(readings(ctx)))  # type: ignore[arg-type]  # a collector collects
    return generate_latest(registry)


def readings(ctx: Context) -> list[Reading]:
    """The numbers of now; their cost does not grow with the samples, answers or predictions."""
    status = load_status(ctx)
    return [one for reader in READERS for one in reader(ctx, status)]


class LastExposition:
    """The newest text, read again once it is too old; callers at the same time share a reading."""

    def __init__(self, read: Callable[[], bytes], seconds: float = SECONDS) -> None:
        self._read, self._seconds = read, seconds
        self._lock = threading.Lock()
        self._text, self._until = b"", float("-inf")

    def text(self) -> bytes:
        """The text; what keeps it from being read is raised, and the next caller tries again."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._text = self._read()
                self._until = time.monotonic() + self._seconds
            return self._text


class _Families:
    """What a registry of Prometheus asks for its numbers."""

    def __init__(self, of: list[Reading]) -> None:
        self._readings = of

    def collect(self) -> Iterator[Metric]:
        """The readings by name."""
        families: dict[str, GaugeMetricFamily] = {}
        for one in self._readings:
            if one.name not in families:
                names = list(one.labels)
                families[one.name] = GaugeMetricFamily(one.name, one.meaning, labels=names)
            families[one.name].add_metric(list(one.labels.values()), one.value)
        yield from families.values()


def _labelling(_: Context, status: Status) -> Iterator[Reading]:
    meaning = "Samples by where they stand."
    for state, number in (
        ("pool", status.pool),
        ("assigned", status.assigned),
        ("unsettled", status.unsettled),
        ("skipped", status.skipped),
        ("audit", status.audit),
    ):
        yield Reading("hone_samples", meaning, number, {"state": state})
    yield Reading("hone_labels", "Labels in force.", status.labels)
    audit = status.audit_progress
    yield Reading("hone_audit_labels", "Audit samples with a label.", audit.labelled)
    yield Reading("hone_snapshots", "Snapshots.", len(status.snapshots))
    for reason, number in status.refused.items():
        yield Reading("hone_refused_files", "Refused files by reason.", number, {"reason": reason})


def _traffic(ctx: Context, status: Status) -> Iterator[Reading]:
    yield Reading("hone_predictions", "Predictions in the database.", status.predictions)
    waiting = "Segments with records that are on the service's disk only."
    yield Reading("hone_undrained_segments", waiting, status.undrained_segments)
    recorded, undrained = traffic_bytes(ctx.engine, ctx.workspace.traffic)
    yield Reading("hone_traffic_bytes", "Bytes of all segments.", recorded)
    yield Reading("hone_undrained_bytes", "Bytes of segments that are not drained.", undrained)
    disk = shutil.disk_usage(ctx.workspace.root)
    yield Reading("hone_disk_free_bytes", "Free on the disk of the workspace.", disk.free)
    yield Reading("hone_disk_bytes", "Size of the disk of the workspace.", disk.total)


def _model(_: Context, status: Status) -> Iterator[Reading]:
    if status.champion is None or status.champion_since is None:
        return
    named = {"model": status.champion}
    yield Reading("hone_champion_info", "The model that is released.", 1, named)
    since = seconds_of(status.champion_since)
    yield Reading("hone_champion_since_seconds", "Unix time of its release.", since)
    for one in (status.champion_accuracy, status.champion_traffic_accuracy):
        if one is not None:
            yield from _interval("hone_audit_accuracy", "Of the champion, on the audit.", one)


def _runs(_: Context, status: Status) -> Iterator[Reading]:
    prefect = status.prefect
    if prefect is None:
        return
    yield Reading("hone_prefect_up", "1 while Prefect answers.", prefect.problem is None)
    if prefect.problem is not None:
        return  # not known is not 0: the alerts about runs go by what was known last
    yield Reading("hone_stuck_runs", "Runs that nothing runs any more.", len(prefect.stuck))
    yield Reading("hone_late_runs", "Runs that are due and that no worker took.", prefect.late)


def _interval(name: str, meaning: str, measured: Accuracy) -> Iterator[Reading]:
    for bound in ("low", "value", "high"):
        labels = {"of": measured.population, "bound": bound}
        yield Reading(name, meaning, getattr(measured, bound), labels)


def _watch(ctx: Context, status: Status) -> Iterator[Reading]:
    policy = ctx.policies.watch
    meaning = "False alarms that may be expected in 90 days."
    yield Reading("hone_alarm_budget", meaning, policy.alarms_per_quarter)
    hours = max(policy.max_lag_hours, 2 * policy.period_hours)
    yield Reading(
        "hone_max_lag_seconds", "Between two checks of the traffic, at most.", hours * 3600
    )
    yield Reading("hone_halted", "1 while the service is halted.", status.halt is not None)
    last = status.last_decision
    if last is None:
        return
    decided = seconds_of(last.decided_at)
    yield Reading("hone_last_check_seconds", "Unix time of the last check.", decided)
    for name, meaning, value in (
        ("hone_drift_evidence", "Of all signals, the logarithm of an e-value.", last.evidence),
        ("hone_drift_threshold", "Evidence that is an alarm.", last.threshold),
        ("hone_alarm_budget_spent", "False alarms to expect of 90 days of checks.", last.spent),
    ):
        if value is not None:
            yield Reading(name, meaning, value)
    for step in Step:
        meaning = "1 for the step of the ladder that the last check came to."
        yield Reading("hone_decision_step", meaning, last.step == step, {"step": str(step)})
    for bound in ("low", "value", "high"):
        estimated = (last.estimate or {}).get(f"estimated_accuracy_{bound}")
        if estimated is not None:  # else the last check could not tell
            meaning = "Of the served answers, without truths."
            yield Reading("hone_estimated_accuracy", meaning, estimated, {"bound": bound})
    yield from _signals(last.signals)


def _signals(measured: Sequence[Signal]) -> Iterator[Reading]:
    for one in measured:
        named = {"signal": one.name, "family": str(one.family)}
        accumulated = "Evidence of a signal, the logarithm of an e-value."
        yield Reading("hone_signal_evidence", accumulated, one.accumulated, named)
        for name, value in (("value", one.value), ("threshold", one.threshold)):
            if value is not None:
                meaning = f"The {name} of a signal, in its own measure."
                yield Reading(f"hone_signal_{name}", meaning, value, named)
        outcome = one.outcome.name.lower()
        for name in ("drift", "none", "unknown"):
            meaning = "1 for the outcome of this signal in the last check."
            labels = {**named, "outcome": name}
            yield Reading("hone_signal_outcome", meaning, outcome == name, labels)


def _outcomes(ctx: Context, status: Status) -> Iterator[Reading]:
    with ctx.engine.connect() as connection:
        counts = outcome_counts(connection)
        hours: Mapping[str, Mapping[Cell, int]] = {}
        distinct = 1.0
        if status.champion is not None:
            hours = counts_by_period(connection, status.champion, "hour", last=HOURS)
            distinct = share_of_scenes(connection, status.champion)
    for standing in fields(counts):
        meaning = "Predictions with a truth, by what it is used for."
        number = getattr(counts, standing.name)
        yield Reading("hone_truths", meaning, number, {"standing": standing.name})
    summed: Counter[Cell] = Counter()
    for cells in hours.values():
        summed.update(cells)
    measured = performance(summed, distinct=distinct)
    if measured is None:
        return
    yield Reading(
        "hone_daily_truths", "Truths of the newest 24 hours that have any.", measured.rows
    )
    for name, interval in (
        ("hone_daily_accuracy", measured.accuracy),
        ("hone_daily_f1", measured.f1),
    ):
        for bound in ("low", "value", "high"):
            meaning = "Of the champion, by the truths of the newest 24 hours that have any."
            yield Reading(name, meaning, getattr(interval, bound), {"bound": bound})


def _alerts(ctx: Context, status: Status) -> Iterator[Reading]:
    with ctx.engine.connect() as connection:
        incident = open_incident_of(connection)
    yield Reading("hone_open_incidents", "1 while an incident is open.", incident is not None)
    for kind in DriftKind:
        meaning = "1 for the kind of drift of the open incident, as it was last told apart."
        is_kind = incident is not None and incident.kind == kind
        yield Reading("hone_drift_kind", meaning, is_kind, {"kind": str(kind)})
    yield Reading("hone_open_alerts", "Alerts whose cause stands.", status.alerts.open)
    failing = "Channels of HONE_ALERTS that did not take their message."
    yield Reading("hone_failing_channels", failing, len(status.alerts.failing))


READERS: tuple[Reader, ...] = (_labelling, _traffic, _model, _watch, _outcomes, _alerts, _runs)


def seconds_of(at: str) -> float:
    """The Unix time of a time as the database has it."""
    return datetime.fromisoformat(at).timestamp()
