"""Alerts on their way from the database to the channels, by runs that are killed or overlap."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from core.locks import only_writer
from models.serving.prediction_store import drain, window
from models.serving.segments import SegmentWriter
from models.watching import alerts
from models.watching.alerts import Alert, Kind, alert_overview, newest_messages
from tasks.context import Context, open_context
from tasks.watch import pictures
from tasks.watch import send as sending
from tasks.watch.send import record_alert, record_recovery, send_due, send_unrecorded
from tests.models.saved_models import make_workspace, png
from tests.models.serving.test_prediction_store import served
from tests.receivers import hanging_server, web_server

DRIFT = Alert("incident-1", Kind.DRIFT, "d", "drift", "It is dark.", "hone why", ("prediction-0",))


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A workspace with one served image."""
    workspace, engine = make_workspace(tmp_path / "work")
    writer = SegmentWriter(workspace.traffic)
    writer.append([(served(0, png()), png())])
    writer.close()
    drain(engine, workspace.traffic)
    engine.dispose()
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    monkeypatch.setenv("HONE_ALERTS", f"file://{tmp_path}/alerts")
    opened = open_context()
    yield opened
    opened.engine.dispose()


def test_an_alert_arrives_once_with_its_picture(ctx: Context, tmp_path: Path) -> None:
    assert send_due(ctx) == []
    record_alert(ctx, DRIFT)
    (line,) = send_due(ctx)
    assert line.startswith(f"file://{tmp_path}/alerts took message-")
    assert send_due(ctx) == []
    text, picture = sorted((tmp_path / "alerts").iterdir(), key=lambda path: path.suffix)[::-1]
    assert text.read_text().startswith("work: drift\n\nIt is dark.\nTo act: hone why\n")
    with Image.open(picture) as image:
        assert image.size == (pictures.SIDE, pictures.SIDE)


def test_an_alert_whose_images_are_gone_arrives_without_them(ctx: Context, tmp_path: Path) -> None:
    (segment,) = ctx.workspace.traffic.glob("*.seg")
    segment.write_bytes(b"erased")
    record_alert(ctx, DRIFT)
    record_alert(ctx, Alert("b", Kind.DRIFT, "", "b", "", exemplars=("no-such-prediction",)))
    assert len(send_due(ctx)) == 1
    assert [path.suffix for path in (tmp_path / "alerts").iterdir()] == [".txt"]


def test_a_strip_shows_a_few_images_beside_each_other(ctx: Context) -> None:
    rows = window(ctx.engine)
    shown = pictures.exemplar_strip(ctx, [*rows.prediction_id] * 9)
    assert shown is not None
    width = pictures.SHOWN * (pictures.SIDE + pictures.GAP) - pictures.GAP
    with Image.open(io.BytesIO(shown)) as strip:
        assert strip.size == (width, pictures.SIDE)


def test_a_run_that_is_killed_after_sending_sends_the_same_message_again(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_alert(ctx, DRIFT)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(alerts, "record_attempts", _kill)
        send_due(ctx)
    before = sorted(path.name for path in (tmp_path / "alerts").iterdir())
    assert len(before) == 2
    assert len(send_due(ctx)) == 1
    assert sorted(path.name for path in (tmp_path / "alerts").iterdir()) == before


def _kill(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_channel_that_fails_is_on_record_and_is_tried_again(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_alert(ctx, DRIFT)
    with web_server() as server:
        monkeypatch.setenv("HONE_ALERTS", f"json://ann:s3cret@127.0.0.1:{server.port}/t0ken")
        server.statuses = [500]
        failing = open_context()
        (line,) = send_due(failing)
        name = f"json://127.0.0.1:{server.port}"
        assert line.startswith(f"{name} did not take message-") and "error=500" in line
        with ctx.engine.connect() as connection:
            (one,) = alert_overview(connection).failing
            (row,) = newest_messages(connection, 9)
        assert (one.name, one.attempts) == (name, 1) and "error=500" in one.error
        assert "s3cret" not in str(row) + line and "t0ken" not in str(row) + line
        assert send_due(failing) == []  # its pause is not over
        monkeypatch.setattr(alerts, "now", lambda: one.next_at)
        (line,) = send_due(failing)
        assert line.startswith(f"{name} took message-")
    first, second = server.bodies
    assert first["message"] == second["message"]
    with ctx.engine.connect() as connection:
        assert alert_overview(connection).failing == ()


def test_a_channel_that_hangs_holds_up_no_run(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_alert(ctx, DRIFT)
    given = sending.deliver
    monkeypatch.setattr(sending, "deliver", lambda outgoing: given(outgoing, 3))
    with hanging_server() as port:
        url = f"json://127.0.0.1:{port}/?rto=600 file://{tmp_path}/alerts"
        monkeypatch.setenv("HONE_ALERTS", url)
        hanging, folder = send_due(open_context())
    assert "did not answer within 3 seconds" in hanging
    assert " took message-" in folder


def test_of_two_runs_at_once_one_sends(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    record_alert(ctx, DRIFT)
    monkeypatch.setattr(sending, "WAIT", 0)
    with only_writer(ctx.engine, "alerts"):
        assert send_due(ctx) == ["another process sends the alerts"]
    assert len(send_due(ctx)) == 1


def test_without_a_channel_nothing_is_sent_and_the_alert_stays(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_ALERTS", "")
    record_alert(ctx, DRIFT)
    assert send_due(open_context()) == []
    with ctx.engine.connect() as connection:
        assert alert_overview(connection) == alerts.AlertOverview(1, ())
    assert len(send_due(ctx)) == 1


def test_a_recovery_closes_what_is_open(ctx: Context, tmp_path: Path) -> None:
    recovery = {"title": "all is well", "body": "It is bright."}
    assert record_recovery(ctx, DRIFT.about, **recovery) is None
    record_alert(ctx, DRIFT)
    assert record_recovery(ctx, DRIFT.about, **recovery) is not None
    send_due(ctx)
    (text,) = (tmp_path / "alerts").glob("*.txt")
    assert "work: 2 alerts, the newest: all is well\n" in text.read_text()


def test_a_message_past_the_database_says_which_channels_took_it(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_ALERTS", f"file://{tmp_path}/alerts nosuch://x")
    (name, error), (other, why) = send_unrecorded(open_context().settings, "test", "It works.")
    assert (name, error, other) == (f"file://{tmp_path}/alerts", None, "nosuch://")
    assert why is not None and "Apprise" in why
    (text,) = (tmp_path / "alerts").iterdir()
    assert text.read_text() == "test\n\nIt works.\n"
    with ctx.engine.connect() as connection:
        assert json.dumps([*newest_messages(connection, 1)]) == "[]"
