"""The weekly check: silent on a sound workspace, else a table, an event and a run that fails."""

from pathlib import Path
from typing import Any

import pytest

from flows.check_workspace import check_workspace
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
