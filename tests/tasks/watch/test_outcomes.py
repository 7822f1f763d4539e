"""Feedback on its way into the record, before a check of the traffic."""

from functools import partial
from pathlib import Path

import pytest

from core.locks import only_writer
from tasks.context import open_context
from tasks.watch.outcomes import drain_feedback
from tests.tasks.operate.sound_workspace import make_sound_workspace


def test_feedback_that_another_process_takes_in_does_not_keep_the_check_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HONE_WORKSPACE", str(make_sound_workspace(tmp_path / "work").root))
    monkeypatch.setattr("tasks.feedback.only_writer", partial(only_writer, patience=0.1))
    ctx = open_context()
    with only_writer(ctx.engine, "feedback"):
        assert drain_feedback.fn() == 0
    assert "feedback waits for the next check" in capsys.readouterr().out
    ctx.engine.dispose()
