"""The numbers of the loop: those of a workspace in which everything happened, read once."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.database import writing
from core.locks import only_writer
from core.workspace import init_workspace
from models.registry.halts import HaltPolicy
from models.serving.prediction_store import drain
from models.serving.segments import SegmentWriter
from models.watching.accuracy_estimate import AccuracyEstimate
from models.watching.alerts import Alert, Kind, due_messages, raise_alert, record_attempts
from models.watching.decisions import Evaluation, record_evaluation
from models.watching.incidents import open_incident
from models.watching.signals import Action
from tasks.context import alert_channels, open_context
from tasks.operate import metrics
from tasks.operate.metrics import LastExposition, exposition, readings, seconds_of
from tasks.operate.status import load_status
from tasks.operate.stuck_runs import PrefectOverview
from tasks.watch.diagnosis import Diagnosis
from tests.counted_work import lines_run
from tests.models.halting import halt_service
from tests.models.serving.test_prediction_store import served
from tests.tasks.operate.sound_workspace import make_sound_workspace


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    workspace = make_sound_workspace(tmp_path / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    return workspace.root


def samples_of(text: bytes) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def test_the_numbers_are_those_of_the_status(sound: Path) -> None:
    ctx = open_context()
    status = load_status(ctx)
    found = samples_of(exposition(ctx))
    states = {labels["state"]: value for labels, value in found["hone_samples"]}
    assert states["pool"] == status.pool
    assert states["audit"] == status.audit == 1
    assert found["hone_labels"] == [({}, status.labels)]
    assert found["hone_champion_info"] == [({"model": status.champion}, 1)]
    assert found["hone_predictions"] == [({}, status.predictions)]
    segments = [path.stat().st_size for path in (sound / "traffic").glob("*.seg")]
    assert found["hone_traffic_bytes"] == [({}, sum(segments))]
    assert found["hone_undrained_bytes"] == [({}, 0)]
    assert status.last_decision is not None
    for signal in status.last_decision.signals:
        named = {"signal": signal.name, "family": str(signal.family)}
        assert (named, signal.accumulated) in found["hone_signal_evidence"]
        assert ({**named, "outcome": "drift"}, signal.outcome == "drift") in found[
            "hone_signal_outcome"
        ]
    assert found["hone_last_check_seconds"] == [({}, seconds_of(status.last_decision.decided_at))]


def test_traffic_that_is_not_drained_is_counted_in_bytes(sound: Path) -> None:
    (sound / "traffic" / "9-1-aa.seg").write_bytes(b"x" * 100)
    found = samples_of(exposition(open_context()))
    assert found["hone_undrained_bytes"] == [({}, 100)]


def test_the_limit_of_the_lag_leaves_time_for_two_checks(sound: Path) -> None:
    with (sound / "hone.toml").open("a") as file:
        file.write("[watch]\nperiod_hours = 24\nalarms_per_quarter = 2\n")
    found = samples_of(exposition(open_context()))
    assert found["hone_max_lag_seconds"] == [({}, 48 * 3600)]
    assert found["hone_alarm_budget"] == [({}, 2)]


def test_a_channel_that_takes_no_alerts_is_counted(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_ALERTS", "json://127.0.0.1:9/")
    ctx = open_context()
    [channel] = alert_channels(ctx.settings)
    with writing(ctx.engine) as connection:
        raise_alert(connection, Alert("incident-1", Kind.DRIFT, "k", "title", "body"))
    with only_writer(ctx.engine, "alerts") as token:
        [message] = due_messages(ctx.engine, token, [channel.name])
        record_attempts(ctx.engine, token, {message.message_id: "the disk is full"})
    found = samples_of(exposition(ctx))
    assert found["hone_failing_channels"] == [({}, 1)]
    assert load_status(ctx).alerts.open > 0
    assert found["hone_open_alerts"] == [({}, load_status(ctx).alerts.open)]


def test_accuracy_is_that_of_the_truths_of_the_champion(sound: Path) -> None:
    """One prediction has a truth that judges: `cat` was answered, and `eel` is true."""
    found = samples_of(exposition(open_context()))
    accuracy = {labels["bound"]: value for labels, value in found["hone_daily_accuracy"]}
    assert found["hone_daily_truths"] == [({}, 1)]
    assert accuracy["value"] == 0
    assert 0.5 < accuracy["high"] < 1
    standings = {labels["standing"]: value for labels, value in found["hone_truths"]}
    assert (standings["judging"], standings["waiting"]) == (1, 1)


def test_what_the_last_check_came_to_is_shown(sound: Path) -> None:
    ctx = open_context()
    model = load_status(ctx).champion
    assert model is not None
    estimate = Diagnosis(estimate=AccuracyEstimate(0.5, 0.25, 0.75, 9, 9, "of nine rows")).as_json()
    figures: dict[str, Any] = {"evidence": 8.5, "threshold": 7.7, "spent": 0.25}
    figures["estimate"] = estimate
    with writing(ctx.engine) as connection:
        made = Evaluation(model, 3, 2, Action.NONE, "alert", "drift", **figures)
        decision = record_evaluation(connection, made)
        open_incident(connection, decision, model=model, kind="prior shift", step="alert")
    halt_service(ctx.engine, policy=HaltPolicy.REFUSE, who="ann", why="the camera is broken")
    found = samples_of(exposition(ctx))
    assert found["hone_drift_evidence"] == [({}, 8.5)]
    assert found["hone_drift_threshold"] == [({}, 7.7)]
    assert found["hone_alarm_budget_spent"] == [({}, 0.25)]
    assert ({"step": "alert"}, 1) in found["hone_decision_step"]
    assert sum(value for _, value in found["hone_decision_step"]) == 1
    estimated = {labels["bound"]: value for labels, value in found["hone_estimated_accuracy"]}
    assert estimated == {"low": 0.25, "value": 0.5, "high": 0.75}
    assert found["hone_open_incidents"] == [({}, 1)]
    kinds = {labels["kind"]: value for labels, value in found["hone_drift_kind"]}
    assert kinds["prior shift"] == 1
    assert sum(kinds.values()) == 1
    assert found["hone_halted"] == [({}, 1)]


def test_an_empty_workspace_has_numbers_and_names_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_WORKSPACE", str(init_workspace(tmp_path / "w", ["cat", "dog"]).root))
    found = samples_of(exposition(open_context()))
    assert found["hone_labels"] == [({}, 0)]
    assert "hone_champion_info" not in found
    assert "hone_stuck_runs" not in found


def test_runs_are_not_known_while_prefect_is_away_and_not_none(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(**what: Any) -> set[str]:
        status = replace(load_status(open_context()), prefect=PrefectOverview(**what))
        monkeypatch.setattr(metrics, "load_status", lambda _: status)
        return {"hone_prefect_up", "hone_stuck_runs", "hone_late_runs"} & {
            one.name for one in readings(open_context())
        }

    assert known(problem="it does not answer") == {"hone_prefect_up"}
    assert known(late=3) == {"hone_prefect_up", "hone_stuck_runs", "hone_late_runs"}


def test_no_number_has_two_values_and_no_name_two_kinds_of_labels(sound: Path) -> None:
    found = readings(open_context())
    keys = [(one.name, tuple(sorted(one.labels.items()))) for one in found]
    assert len(keys) == len(set(keys))
    kinds = {(one.name, tuple(one.labels)) for one in found}
    assert len(kinds) == len({name for name, _ in kinds})


def test_a_reading_costs_the_same_after_much_more_traffic_and_many_checks(sound: Path) -> None:
    ctx = open_context()
    model = load_status(ctx).champion
    assert model is not None
    readings(ctx)
    _, before = lines_run(lambda: readings(ctx))
    writer = SegmentWriter(ctx.workspace.traffic)
    images = [b"image %d" % number for number in range(2, 402)]
    writer.append([(served(at, image, model), image) for at, image in enumerate(images, start=2)])
    writer.close()
    assert drain(ctx.engine, ctx.workspace.traffic) == 400
    with writing(ctx.engine) as connection:
        for last in range(3, 103):
            made = Evaluation(model, last, last, Action.NONE, "none", "no drift")
            record_evaluation(connection, made)
    _, after = lines_run(lambda: readings(ctx))
    assert after < 1.1 * before


def test_many_who_ask_at_once_share_a_reading() -> None:
    reads = list[int]()
    begun = threading.Event()

    def read() -> bytes:
        reads.append(1)
        begun.wait()
        return b"text"

    last = LastExposition(read, seconds=1000)
    texts = list[bytes]()
    asking = [threading.Thread(target=lambda: texts.append(last.text())) for _ in range(5)]
    for one in asking:
        one.start()
    begun.set()
    for one in asking:
        one.join()
    assert texts == [b"text"] * 5
    assert len(reads) == 1


def test_a_reading_that_failed_is_tried_again() -> None:
    problems = [OSError("away")]

    def read() -> bytes:
        if problems:
            raise problems.pop()
        return b"text"

    last = LastExposition(read)
    with pytest.raises(OSError, match="away"):
        last.text()
    assert last.text() == b"text"
