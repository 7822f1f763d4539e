"""What people decide about the watch: in one transaction each, and what stays is said."""

from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from core.database import writing
from core.workspace import Workspace
from flows.cli.watching import app
from models.registry.halts import HaltPolicy, current_halt
from models.watching import incidents
from models.watching.decisions import Evaluation, record_evaluation
from models.watching.signals import Action
from tasks.operate import watch_records
from tests.models.saved_models import make_workspace


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Engine, str]:
    """A workspace with an open incident; the third is its decision."""
    workspace, engine = make_workspace(tmp_path / "workspace")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    made = Evaluation(
        "hone:a", 1, 9, Action.LABEL_SERVED, "label", "drift", incident_id="incident-0001"
    )
    with writing(engine) as connection:
        decision_id = record_evaluation(connection, made)
        incidents.open_incident(connection, decision_id, model="hone:a", kind=None, step="label")
    return workspace, engine, decision_id


def test_a_halt_and_its_event_are_one(
    place: tuple[Workspace, Engine, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, engine, _ = place

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(incidents, "add_event", killed)
        watch_records.halt(HaltPolicy.REFUSE, who="ann", why="wrong labels")
    assert current_halt(engine) is None
    watch_records.halt(HaltPolicy.REFUSE, who="ann", why="wrong labels")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(incidents, "add_event", killed)
        watch_records.resume(who="bob", why="repaired")
    assert current_halt(engine) is not None
    watch_records.resume(who="bob", why="repaired")
    assert current_halt(engine) is None
    incident, _ = watch_records.one_incident("incident-0001")
    assert [(one.what, one.who) for one in incident.events[1:]] == [
        ("halt", "ann"), ("resume", "bob"),
    ]  # fmt: skip


def test_a_halt_that_stays_when_a_drift_is_accepted_is_named(
    place: tuple[Workspace, Engine, str],
) -> None:
    _, engine, decision_id = place
    watch_records.halt(HaltPolicy.ABSTAIN, who="ann", why="wrong labels")
    words = ["watch", "--accept", decision_id, "--who", "bob", "--why", "a new camera"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "incident-0001 ends" in shown.output
    assert "still halted (abstain, by ann): `hone resume`" in shown.output
    assert current_halt(engine) is not None
    watch_records.resume(who="ann", why="repaired")
    assert "halted" not in CliRunner().invoke(app, words).output
