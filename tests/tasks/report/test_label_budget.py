"""A grant of labels is counted down by what is labelled and asked for."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, insert
from typer.testing import CliRunner

from core.database import now, writing
from flows.cli.models import app
from labeling.ledger.tables import assignments, rounds, samples
from tasks.context import open_context
from tasks.report.label_budget import NAME, grant_labels, labels_left
from tests.tasks.labelled_folders import import_images, new_workspace
from tests.tasks.operate.sound_workspace import make_sound_workspace


def _ask(connection: Connection, round_id: str, chosen_at: str, count: int) -> None:
    number = int(round_id.removeprefix("round-"))
    row = {"round_id": round_id, "number": number, "strategy": "margin", "seed": 0, "config": {}}
    connection.execute(insert(rounds).values(**row, why="", chosen_at=chosen_at))
    about = {"shard": "s", "offset": 0, "length": 1, "format": "PNG", "width": 8, "height": 8}
    about |= {"thumbnail": bytes(64), "origin": "served", "added_at": now()}
    for position in range(count):
        name = f"{round_id}-{position}"
        ids = dict.fromkeys(("sample_id", "stored_sha256", "group_id"), name)
        connection.execute(insert(samples).values(**about, **ids))
        asked = {"round_id": round_id, "sample_id": name, "position": position}
        connection.execute(insert(assignments).values(**asked, reason="margin"))


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
    with writing(ctx.engine) as connection:
        _ask(connection, "round-9001", now(), 7)
        _ask(connection, "round-9002", "2000-01-01T00:00:00.000000+00:00", 2)
    with ctx.engine.connect() as connection:
        assert labels_left(ctx, connection) == 23, "what was asked for since the grant"
        (workspace.runs / NAME).write_text("{", encoding="utf-8")
        assert labels_left(ctx, connection) is None
    assert "`hone budget --labels` records it anew" in capsys.readouterr().out


def test_labels_that_were_imported_use_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_workspace(tmp_path, monkeypatch)
    ctx = open_context()
    grant_labels(ctx, 2)
    import_images(tmp_path / "more", cat=3)
    with ctx.engine.connect() as connection:
        assert labels_left(ctx, connection) == 2
