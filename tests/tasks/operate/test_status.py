"""The status of a workspace: its counts, its page, and what it says to do next."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from core.workspace import init_workspace
from labeling.ledger.audit_progress import AuditProgress
from models.registry.halts import Halt, HaltPolicy
from models.registry.overview import Accuracy, LastVerdict
from models.watching.alerts import AlertOverview, FailingChannel
from models.watching.decisions import DecisionRecord
from models.watching.signals import Action
from tasks.context import open_context
from tasks.operate.next_step import RULES, next_step
from tasks.operate.prefect_api import PrefectRun
from tasks.operate.status import Status, load_status
from tasks.operate.status_view import show_status
from tasks.operate.stuck_runs import PrefectOverview, StuckRun
from tests.tasks.operate.sound_workspace import make_sound_workspace

EMPTY = Status(
    samples=0, served_samples=0, refused={}, pool=0, assigned=0, unsettled=0, skipped=0, labels=0,
    audit=0, audit_progress=AuditProgress(50, 0, 0, 100), refused_answers=0, snapshots=[],
    champion=None, champion_accuracy=None, champion_since=None, last_verdict=None, predictions=0,
    undrained_segments=0, last_decision=None, at="2026-01-05T00:00:00+00:00",
)  # fmt: skip
FULL = replace(EMPTY, samples=500, pool=400)
LABELLED = replace(
    FULL, labels=100, snapshots=["snapshot-0001"], audit_progress=AuditProgress(50, 60, 0, 100)
)
TRAINED = replace(LABELLED, trained_snapshots=frozenset({"snapshot-0001"}))
SERVED = replace(TRAINED, champion="hone:1", champion_since=EMPTY.at, predictions=9)
HALT = Halt(1, HaltPolicy.REFUSE, "hone", "accuracy .31", 1, "d", EMPTY.at)
DRIFT = DecisionRecord("d", "hone:1", 1, 9, Action.LABEL_SERVED, "ks: 0.5", EMPTY.at, None)

RUN = PrefectRun(
    run_id="r", name="label-round-0002", deployment_id="d", parameters={}, maker=None,
    due=EMPTY.at, state="PENDING", state_id="s", since="2026-01-04T22:00:00+00:00", process=None,
)  # fmt: skip
STUCK = PrefectOverview(stuck=(StuckRun(RUN, "it lost its place"),))
LATE = PrefectOverview(late=2, late_since="2026-01-04T00:00:00+00:00", unpolled=("hone",))


@pytest.mark.parametrize(
    ("status", "command", "reason"),
    [
        (replace(EMPTY, prefect=PrefectOverview()), "hone ingest PATH", "no images"),
        (replace(EMPTY, prefect=PrefectOverview(problem="it is away")),
         "prefect server start", "it is away"),
        (replace(EMPTY, prefect=STUCK),
         "prefect deployment run free-stuck-runs/free-stuck-runs",
         "label-round-0002 is PENDING and it lost its place"),
        (replace(EMPTY, prefect=replace(STUCK, unpolled=("hone",))),
         "prefect worker start --pool hone", "no worker polls the pool, for 1 waiting run"),
        (replace(EMPTY, prefect=LATE),
         "prefect worker start --pool hone", "for 2 waiting runs"),
        (replace(EMPTY, prefect=replace(LATE, unpolled=())), "hone ingest PATH", "no images"),
        (EMPTY, "hone ingest PATH", "no images"),
        (FULL, "hone label", "400 images are in the pool"),
        (replace(FULL, assigned=25), "hone collect", "they have 25 images open"),
        (replace(FULL, assigned=25, unsettled=1), "hone collect", "to 1 image wait to be settled"),
        (replace(LABELLED, snapshots=[]), "hone collect --every 1", "no snapshot"),
        (LABELLED, "hone retrain", "snapshot-0001"),
        (replace(LABELLED, audit_progress=AuditProgress(50, 12, 0, 100)),
         "hone label --audit-share 0.5", "12 are labelled, 0 are asked for now, 38 are still"),
        (replace(TRAINED, last_verdict=LastVerdict("hone:1", "PROMOTE", [], EMPTY.at)),
         "hone release hone:1 --who NAME --why REASON", "a person has to release it"),
        (replace(TRAINED, last_verdict=LastVerdict("hone:1", "HOLD", [], EMPTY.at)),
         "hone label", "400 images are in the pool"),
        (replace(SERVED, predictions=0), "bentoml serve --host 127.0.0.1", "answered nothing yet"),
        (replace(SERVED, undrained_segments=1), "hone watch", "not checked yet"),
        (replace(SERVED, waiting_drift=DRIFT), "hone label", "the traffic drifted: ks: 0.5"),
        (replace(SERVED, last_decision=replace(DRIFT, answered_by="round-0002"), pool=0),
         "hone ingest PATH", "the pool is empty"),
        (replace(SERVED, waiting_drift=DRIFT, assigned=3), "hone collect", "3 images"),
        (replace(SERVED, waiting_drift=DRIFT, halt=HALT), "hone resume --who NAME --why REASON",
         "halted by hone: accuracy .31"),
        (replace(SERVED, snapshots=["snapshot-0001", "snapshot-0002"]),
         "hone retrain", "snapshot-0002"),
        (SERVED, "hone label", "400 images are in the pool"),
    ],
)  # fmt: skip
def test_the_next_step_follows_from_where_the_loop_stands(
    status: Status, command: str, reason: str
) -> None:
    step = next_step(status)
    assert step.command == command
    assert reason in step.reason


def test_every_rule_is_the_first_to_apply_to_some_status() -> None:
    drawn = [
        EMPTY, FULL, LABELLED, TRAINED, SERVED,
        replace(EMPTY, prefect=STUCK),
        replace(SERVED, pool=0),
        replace(FULL, assigned=1),
        replace(FULL, unsettled=1),
        replace(LABELLED, snapshots=[]),
        replace(LABELLED, audit_progress=EMPTY.audit_progress),
        replace(SERVED, undrained_segments=1),
        replace(SERVED, predictions=0),
        replace(SERVED, waiting_drift=DRIFT),
        replace(SERVED, halt=HALT),
        replace(TRAINED, last_verdict=LastVerdict("hone:1", "PROMOTE", [], EMPTY.at)),
    ]  # fmt: skip
    assert {next(rule for rule in RULES if rule(status)) for status in drawn} == set(RULES)


def page(status: Status) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    show_status(status, "Cats  /srv/cats", console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_page_has_a_line_for_each_part_and_the_next_step() -> None:
    status = replace(
        SERVED,
        refused={"NOT_AN_IMAGE": 2, "TOO_LARGE": 1}, served_samples=12, skipped=3, at=EMPTY.at,
        champion_accuracy=Accuracy(0.9, 0.85, 0.94, 60),
        champion_traffic_accuracy=Accuracy(0.8, 0.7, 0.87, 50, "traffic"),
        champion_since="2026-01-02T00:00:00+00:00",
        last_verdict=LastVerdict(
            "hone:2", "HOLD", ["no gain", "and more"], "2026-01-04T00:00:00+00:00"
        ),
        last_decision=replace(DRIFT, answered_by="round-0002"),
        next=next_step(SERVED),
    )  # fmt: skip
    lines = [line.rstrip() for line in page(status).strip().splitlines()]
    assert lines == [
        "Cats  /srv/cats",
        "  Images      500, 12 of them from traffic; 3 files refused (`hone refused`)",
        "  Pool        400 can be chosen, 3 skipped",
        "  Annotators  none open",
        "  Labels      100, snapshot-0001 is the newest snapshot",
        "  Audit       60 labels, a verdict needs 50; 0 more for reports",
        "  Champion    hone:1, accuracy 0.900 [0.850, 0.940] on 60 audit images of the pool, "
        "0.800 [0.700, 0.870] on 50 audit images of the traffic, released 3 days ago",
        "  Verdict     HOLD for hone:2, 1 day ago: no gain; `hone verdict` shows the rest",
        "  Traffic     9 predictions; last decision just now: label-served, ks: 0.5",
        "",
        "Next: `hone label` - 400 images are in the pool",
    ]


def test_a_channel_that_fails_is_visible() -> None:
    failing = FailingChannel("json://h", "refused", 2, "2026-01-04T00:00:00+00:00", EMPTY.at)
    status = replace(SERVED, alerts=AlertOverview(3, (failing,)), channels=1)
    told = "  Alerts      3 open (`hone alerts`); json://h failed 2 times since 1 day ago: refused"
    assert told in page(status)
    nobody = replace(status, alerts=AlertOverview(1, ()), channels=0)
    assert "HONE_ALERTS names no channel, so that nobody is sent them" in page(nobody)
    assert AlertOverview(3, (failing,)).of(["json://h"]).failing == (failing,)
    assert AlertOverview(3, (failing,)).of(["json://i"]) == AlertOverview(3, ())


def test_an_open_incident_and_a_halt_are_visible() -> None:
    incident = "incident-0001 at halt, since 2026-01-04T20:00 UTC"
    shown = page(replace(SERVED, incident=incident, halt=HALT))
    assert f"  Incident    {incident}; `hone why` and `hone incidents` say more" in shown
    assert "  Halted      refuse, just now, by hone: accuracy .31" in shown


@pytest.mark.parametrize(
    ("overview", "line"),
    [
        (None, ""),
        (PrefectOverview(), "no run is stuck or late"),
        (STUCK, "1 run stuck, the first 2 hours ago: label-round-0002"),
        (LATE, "2 runs late, the first due 1 day ago; no worker polls the pool hone"),
        (PrefectOverview(problem="it is away"), "it is away"),
    ],
)
def test_the_page_says_what_keeps_runs_from_going_on(
    overview: PrefectOverview | None, line: str
) -> None:
    lines = page(replace(EMPTY, prefect=overview)).splitlines()
    assert [shown.strip() for shown in lines if "Prefect" in shown] == (
        [f"Prefect     {line}"] if line else []
    )


def test_the_audit_says_how_many_labels_are_missing() -> None:
    status = replace(LABELLED, audit_progress=AuditProgress(50, 12, 20, 100))
    assert "12 of the 50 labels for a verdict; 20 open; 18 to be asked for" in page(status)


def test_an_audit_that_the_images_at_hand_cannot_fill_says_so() -> None:
    status = replace(LABELLED, audit_progress=AuditProgress(30, 6, 0, 2))
    shown = " ".join(page(status).split())
    assert "of the 24 missing 2 can be asked for: ingest more images" in shown


def test_the_status_of_a_workspace_in_which_everything_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_sound_workspace(tmp_path / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    ctx = open_context()
    status = load_status(ctx)
    ctx.engine.dispose()
    assert (status.samples, status.labels, status.pool, status.audit) == (6, 6, 0, 1)
    assert (status.audit_progress.labelled, status.assigned, status.predictions) == (1, 0, 2)
    assert status.champion is not None and status.snapshots == ["snapshot-0001"]
    assert status.last_decision is not None and status.last_decision.action == "none"
    assert status.outcomes is not None and status.outcomes.counts.waiting == 1
    assert "1 truths confirmed, 0 weak, 1 about unknown predictions" in page(status)
    kept = {
        "samples", "served_samples", "refused", "pool", "assigned", "skipped", "labels", "audit",
        "refused_answers", "snapshots", "champion", "last_verdict", "predictions",
        "last_decision", "at",
    }  # fmt: skip
    assert kept <= status.as_json().keys()


def test_an_empty_workspace_is_to_be_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_WORKSPACE", str(init_workspace(tmp_path, ["cat", "dog"]).root))
    ctx = open_context()
    status = load_status(ctx)
    ctx.engine.dispose()
    assert str(status.next) == "`hone ingest PATH` - there are no images yet"
