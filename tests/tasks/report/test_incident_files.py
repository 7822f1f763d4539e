"""The page of an incident: from the first signal to its end, in a file that git leaves alone."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from core.database import writing
from core.git import git
from models.watching.incidents import add_event, find_incident
from tasks.context import Context, open_context
from tasks.operate.watch_records import last_decisions, one_incident
from tasks.report import artifacts
from tasks.report.decision_view import show_decisions, show_incidents
from tasks.report.incident_files import publish_incident
from tests.tasks.operate.sound_workspace import make_sound_workspace


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    workspace = make_sound_workspace(tmp_path / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    monkeypatch.setattr(artifacts, "is_direct_run", lambda: True)
    return open_context()


def test_the_page_has_times_people_and_decisions(ctx: Context) -> None:
    with writing(ctx.engine) as connection:
        incident = find_incident(connection)
        add_event(connection, incident.incident_id, "round", "ann | bob", {"round": "round-0004"})
    path = publish_incident(ctx, "incident-0001")
    assert path == ctx.workspace.root / "reports" / "incident-0001.md"
    page = path.read_text(encoding="utf-8")
    assert "| the incident was opened | hone |" in page
    assert "| a round asks about it | ann \\| bob | round round-0004 |" in page
    assert "note: no drift" in page
    assert publish_incident(ctx, "incident-0001").read_text(encoding="utf-8") == page
    assert git(ctx.workspace.root, "status", "--porcelain", "--", "reports") == ""


def test_the_last_decisions_are_shown_with_why_and_what_would_change_them(ctx: Context) -> None:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    show_decisions(last_decisions(5), console)
    incident, decisions = one_incident("incident-0001")
    assert [one.decision_id for one in decisions] == [incident.opened_by]
    show_incidents([incident], console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "note: no drift" in shown and "predictions 1 to 2" in shown
    assert "would change  new traffic" in shown
    assert "ks-probabilities" in shown and "nothing moved" in shown
    assert "incident-0001" in shown


def test_before_the_first_check_the_command_is_named() -> None:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    show_decisions([], console)
    show_incidents([], console)
    assert isinstance(console.file, io.StringIO)
    assert "`hone watch` checks the served traffic" in console.file.getvalue()
    assert "there was no incident" in console.file.getvalue()
