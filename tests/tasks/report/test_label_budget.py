"""A grant of labels is counted down by what is labelled and asked for."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.models import app
from tasks.context import open_context
from tasks.report.label_budget import NAME, labels_left
from tests.tasks.operate.sound_workspace import make_sound_workspace


def test_a_grant_is_counted_from_now_on_and_a_damaged_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = make_sound_workspace(tmp_path / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    ctx = open_context()
    with ctx.engine.connect() as connection:
        assert labels_left(ctx, connection) is None
        shown = CliRunner().invoke(app, ["budget", "--labels", "30"])
        assert (shown.exit_code, shown.output) == (0, "30 more labels may be asked for\n")
        assert labels_left(ctx, connection) == 30
        monkeypatch.setattr("tasks.report.label_budget.count_open", lambda _: 1_000)
        assert labels_left(ctx, connection) == 0
        (workspace.runs / NAME).write_text("{", encoding="utf-8")
        assert labels_left(ctx, connection) is None
    assert "`hone budget --labels` records it anew" in capsys.readouterr().out
