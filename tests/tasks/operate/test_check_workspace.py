"""The weekly check: silent on a sound workspace, else a table, an event and a run that fails."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.findings import Finding
from flows.check_workspace import check_workspace
from models.watching import alerts
from tasks.direct_run import direct_runs
from tasks.operate import check_workspace as steps
from tests.tasks.operate.sound_workspace import make_sound_workspace


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sound_workspace(tmp_path_factory.mktemp("weekly") / "work").root


@pytest.fixture
def made(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the run publishes and raises, in its order."""
    monkeypatch.setenv("HONE_WORKSPACE", str(root))
    told: list[Any] = []
    monkeypatch.setattr(steps, "publish_table", lambda **table: told.append(table))
    monkeypatch.setattr(steps, "emit", lambda _, name, payload: told.append((str(name), payload)))
    return told


def test_a_sound_workspace_gets_an_empty_table_and_no_alarm(made: list[Any]) -> None:
    with direct_runs():
        check_workspace()
    assert made == [{"key": "findings", "table": [], "description": "every promise holds"}]


def test_damage_and_its_end_are_sent_to_the_channels(
    root: Path, made: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_WORKSPACE", str(shutil.copytree(root, tmp_path / "work")))
    monkeypatch.setenv("HONE_ALERTS", f"file://{tmp_path}/alerts")
    lost = [Finding("I3", "shard a is missing", "restore it", "images are lost")]
    with direct_runs():
        steps.alert_damage([])
        assert not (tmp_path / "alerts").exists()
        for _ in range(2):
            steps.alert_damage(lost)
    (first,) = (tmp_path / "alerts").iterdir()
    assert first.read_text().startswith(
        "work: 1 finding in the workspace\n\nI3  shard a is missing: images are lost\n"
        "To act: hone fsck --repair\n"
    )
    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="microseconds")
    monkeypatch.setattr(alerts, "now", lambda: later)
    with direct_runs():
        steps.alert_damage([])
    (second,) = {*(tmp_path / "alerts").iterdir()} - {first}
    assert second.read_text().startswith("work: every promise holds again\n")


def test_damage_of_the_database_is_sent_although_it_cannot_be_recorded(
    root: Path, made: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = shutil.copytree(root, tmp_path / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(work))
    monkeypatch.setenv("HONE_ALERTS", f"file://{tmp_path}/alerts")
    (work / "hone.sqlite").write_bytes(b"no database" * 999)
    with direct_runs(), pytest.raises(Exception, match="not a database"):
        check_workspace()
    (text,) = (tmp_path / "alerts").iterdir()
    assert "I2  the workspace cannot be opened" in text.read_text()


def test_a_damaged_workspace_is_shown_raised_and_fails_the_run(root: Path, made: list[Any]) -> None:
    (shard,) = (root / "data" / "shards").glob("*.tar")
    shard.unlink()
    with direct_runs(), pytest.raises(steps.WorkspaceDamaged, match=r"I3 shard .* is missing"):
        check_workspace()
    shown, (event, payload) = made
    assert shown["description"] == "1 broken promises"
    assert set(shown["table"][0]) == {"promise", "what", "harm", "remedy"}
    assert event == "hone.workspace-damaged"
    assert payload["findings"] == "1" and shard.name in payload["first"]
