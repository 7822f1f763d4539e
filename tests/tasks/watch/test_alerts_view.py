"""The list of alerts and messages, and the command that sends a test."""

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli import entry
from models.watching.alerts import Alert, Kind
from tasks.context import Context
from tasks.watch.alerts_view import alert_lists, show_alerts
from tasks.watch.send import record_alert, send_due
from tests.tasks.watch.test_send import DRIFT, ctx

__all__ = ["ctx"]


def page(ctx: Context, channels: list[str]) -> str:
    text = io.StringIO()
    console = Console(file=text, width=160, highlight=False)
    show_alerts(alert_lists(ctx, 20), channels, console)
    return text.getvalue()


def hone(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["hone", *words])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    return int(ended.value.code or 0)


def test_the_list_has_alerts_messages_and_channels(ctx: Context) -> None:
    assert page(ctx, []).splitlines() == ["no alert was raised", "HONE_ALERTS names no channel"]
    record_alert(ctx, DRIFT)
    send_due(ctx)
    record_alert(ctx, Alert("run 1", Kind.STUCK, "", "a run is stuck", "", is_event=True))
    text = page(ctx, ["file:///alerts"])
    rows = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    assert "a run is stuck run 1 stuck run just now no -" in rows
    assert "drift incident-1 drift just now open hone why" in rows
    assert any(row.endswith("/alerts 1 1 delivered just now") for row in rows)
    assert rows[-1] == "channels: file:///alerts"


def test_the_list_as_json_has_the_rows(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record_alert(ctx, DRIFT)
    assert hone("alerts", "--json", monkeypatch=monkeypatch) == 0
    lists = json.loads(capsys.readouterr().out)
    assert [alert["exemplars"] for alert in lists["alerts"]] == [["prediction-0"]]
    assert lists["messages"] == []


def test_a_test_message_is_sent_at_once_and_a_channel_that_fails_is_an_error(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert hone("alerts", "test", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == f"file://{tmp_path}/alerts: took the message\n"
    (text,) = (tmp_path / "alerts").iterdir()
    assert text.read_text().startswith("work: a test message\n")
    monkeypatch.setenv("HONE_ALERTS", "nosuch://x")
    assert hone("alerts", "test", "--json", monkeypatch=monkeypatch) == 1
    (failed,) = json.loads(capsys.readouterr().out)
    assert failed["channel"] == "nosuch://" and "Apprise" in failed["error"]
    monkeypatch.delenv("HONE_ALERTS")
    assert hone("alerts", "test", monkeypatch=monkeypatch) == 1
    assert "HONE_ALERTS names no channel" in capsys.readouterr().err
