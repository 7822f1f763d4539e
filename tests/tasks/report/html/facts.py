"""Facts of workspaces that nobody has: with everything in them, hostile, and very large."""

import base64
from dataclasses import replace

import numpy as np

from core.intervals import Interval
from labeling.budget.learning_curve import CurvePoint
from labeling.ledger.audit_progress import AuditProgress
from labeling.ledger.page_queries import PastDuel, PastSnapshot, Share
from labeling.ledger.report_queries import AssignmentCounts
from models.registry.halts import Halt, HaltPolicy
from models.registry.history import PastRelease, PastVerdict
from models.registry.overview import Accuracy, LastVerdict
from models.serving.traffic_history import ServedRow, TrafficSample
from models.watching.alerts import AlertOverview, FailingChannel, Kind, RaisedAlert
from models.watching.decision_history import PastCheck, PastSignal
from models.watching.decisions import DecisionRecord
from models.watching.incidents import Event, Incident
from models.watching.outcome_queries import OutcomeCounts
from models.watching.performance import performance
from models.watching.signals import Action, Family, Shift, Signal
from tasks.operate.next_step import NextStep
from tasks.operate.performance import PerformanceReport
from tasks.operate.status import Status
from tasks.report.budget_record import BudgetRecord
from tasks.report.html.alerts_section import AlertFacts, ChannelState
from tasks.report.html.exemplars import Exemplar
from tasks.report.html.gather import MOST_DECISIONS, MOST_INCIDENTS, Facts, LabelQuality
from tasks.report.html.judged import JudgedRows, Mistake
from tasks.report.html.outcomes_section import OutcomeFacts, ServedMistake
from tasks.report.html.pictures import Picture

AT = "2026-03-01T12:00:00+00:00"
EMPTY = Facts(
    title="Cats",
    days=30,
    since="2026-01-30T12:00:00+00:00",
    status=Status(
        samples=0, served_samples=0, refused={}, pool=0, assigned=0, unsettled=0, skipped=0,
        labels=0, audit=0, audit_progress=AuditProgress(30, 0, 0, 0), refused_answers=0,
        snapshots=[], champion=None, champion_accuracy=None, champion_since=None,
        last_verdict=None, predictions=0, undrained_segments=0, last_decision=None, at=AT,
        next=NextStep("hone ingest PATH", "there are no images yet"),
    ),
    traffic=TrafficSample([], 1),
    checks=[],
    decisions=[],
    incidents=[],
    exemplars=[],
    halt=None,
    alarms_per_quarter=1.0,
    releases=[],
    verdicts=[],
    duels=[],
    snapshots=[],
    judged=None,
    champion_judged=None,
    quality=LabelQuality(Share(0, 0), Share(0, 0), AssignmentCounts(0, 0, 0, 0, 0, 0), {}),
    budget=None,
    alerts=AlertFacts([], AlertOverview(0, ()), []),
    outcomes=OutcomeFacts(
        PerformanceReport(None, OutcomeCounts(0, 0, 0, 0, 0), None, {}, {}), []
    ),
)  # fmt: skip


def full_facts(
    word: str = "cat", *, count: int = 3, classes: int = 3, picture: bytes = b"x"
) -> Facts:
    """Facts with everything in them; `word` is in each name and text that strangers choose."""
    names = tuple(f"{word}{number}" for number in range(classes))
    picture_address = "data:image/png;base64," + base64.b64encode(picture).decode()
    accuracy = Accuracy(0.9, 0.8, 0.95, 60)
    judged = JudgedRows(
        f"hone:{word}",
        names,
        np.full((classes, classes), 2),
        Interval(1 / classes, 0.1, 0.5, 2 * classes**2),
        [Mistake("s" * 64, names[0], names[1], 0.99, Picture(picture_address), f"/in/{word}.png"),
         Mistake("t" * 64, names[1], names[0], 0.9, Picture(None, f"gone: {word}"), None)],
        300,
    )  # fmt: skip
    served = [
        ServedRow(f"2026-02-{1 + number % 28:02d}T10:00:00+00:00", f"hone:{word}",
                  names[number % classes], 0.5 + 0.4 * (number % 2), number % 3 == 0)
        for number in range(count * 20)
    ]  # fmt: skip
    past = [PastSignal(f"ks-{word}{n}", "drift", 0.5, 3.0) for n in range(12)]
    measured = tuple(
        Signal(f"ks-{word}{n}", Family.INPUTS, Shift.DRIFT, 0.5, 0.1, 1.0, 3.0, 0.01, 90, 80, word)
        for n in range(12)
    )
    right = performance({(one, names[0]): 3 for one in names})
    assert right is not None
    return replace(
        EMPTY,
        title=word,
        status=replace(
            EMPTY.status, samples=900, labels=500, pool=80, predictions=9000,
            snapshots=[f"snapshot-{word}"], champion=f"hone:{word}", champion_accuracy=accuracy,
            champion_traffic_accuracy=replace(accuracy, population="traffic"),
            champion_since="2026-02-01T12:00:00+00:00",
            last_verdict=LastVerdict(f"hone:{word}", "HOLD", [word], AT),
            next=NextStep("hone label", word),
        ),
        traffic=TrafficSample(sorted(served, key=lambda row: row.served_at), 1),
        checks=[
            PastCheck(f"2026-02-{1 + n % 28:02d}T11:00:00+00:00", "label", n / 9, 7.0, past)
            for n in range(count)
        ],
        decisions=[
            DecisionRecord(
                f"d{n}", f"hone:{word}", 1, 90, Action.LABEL_SERVED, word, AT, None, "label", word,
                [word] * count, [word] * count, {word: 1}, {word: word}, [word], 8.5, 7.0, 0.4,
                word, signals=measured,
            )
            for n in range(min(count, MOST_DECISIONS))
        ],
        incidents=[
            Incident(f"incident-{n}", n, "d0", word, word, AT, None,
                     (Event(AT, word, word, {word: word}),) * count)
            for n in range(min(count, MOST_INCIDENTS))
        ],
        exemplars=[Exemplar(word, word, 0.9, AT, Picture(picture_address))] * 2,
        halt=Halt(1, HaltPolicy.REFUSE, word, word, None, None, AT, None, None, None),
        releases=[
            PastRelease(n, f"hone:{word}", word, word, "2026-02-01T12:00:00+00:00", word, None)
            for n in range(count, 0, -1)
        ],
        verdicts=[
            PastVerdict(f"v{n}", f"hone:{word}", f"hone:{word}", word, "HOLD", [word] * count,
                        f"2026-02-{28 - n % 28:02d}T12:00:00+00:00", accuracy, accuracy)
            for n in range(count)
        ],
        duels=[PastDuel(word, word, word, AT, None, None) for _ in range(count)],
        snapshots=[PastSnapshot(word, 5, AT) for _ in range(count)],
        judged=judged,
        champion_judged=judged,
        quality=LabelQuality(
            Share(9, 10), Share(40, 50), AssignmentCounts(9, 1, 1, 1, 1, 1), {word: 3}
        ),
        budget=BudgetRecord(
            AT, word, 200, 100, 3, word, word,
            [CurvePoint(50, 0.7, 0.03, model=True), CurvePoint(20, 0.6, 0.03, model=False)],
            [(20.0, 0.6, 0.5, 0.7), (200.0, 0.8, 0.7, 0.9), (700.0, 0.9, 0.8, 0.95)],
            [(100, 0.01, 0.0, 0.02)],
        ),
        outcomes=OutcomeFacts(
            PerformanceReport(
                f"hone:{word}", OutcomeCounts(90, 3, 1, 1, 1), right,
                {f"2026-02-{1 + n:02d}": right for n in range(min(count, 28))},
                {f"{word}{n}": right for n in range(count)},
            ),
            [ServedMistake(word, word, 0.9, AT, Picture(picture_address))] * 2,
        ),
        alerts=AlertFacts(
            [ChannelState(f"mail {word}", AT), ChannelState("slack", None)],
            AlertOverview(1, (FailingChannel("slack", word, 3, AT, AT),)),
            [RaisedAlert("a", 2, word, Kind.DRIFT, word, word, word, (), AT, None),
             RaisedAlert("b", 1, word, Kind.DRIFT, word, word, None, (), AT, AT)] * count,
        ),
    )  # fmt: skip
