"""What follows from a decision: its events, raised again while nobody answers, and its pages."""

import base64
from pathlib import Path

import pytest

from core.database import writing
from models.watching.decisions import Evaluation, answer_decision, record_evaluation
from models.watching.incidents import next_incident, open_incident
from models.watching.signals import Action
from tasks.context import Context
from tasks.events import EventName
from tasks.watch import act
from tests.tasks.watch.traffic import make_context

Raised = list[tuple[EventName, str]]


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("tasks.report.artifacts.is_direct_run", lambda: True)
    return make_context(tmp_path, monkeypatch)


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> Raised:
    events: Raised = []
    monkeypatch.setattr(
        act, "emit", lambda _, name, payload: events.append((name, payload["decision"]))
    )
    monkeypatch.setattr(act, "was_answered", lambda *_: False)
    return events


def decide(ctx: Context, first: int, action: Action, *, training: bool = False) -> str:
    made = Evaluation(
        "hone:1", first, first + 9, action, "label", "drift", cost={"training": training}
    )
    with writing(ctx.engine) as connection:
        return record_evaluation(connection, made)


def test_a_decision_that_asks_for_labels_raises_drift(ctx: Context, raised: Raised) -> None:
    decision = decide(ctx, 1, Action.LABEL_SERVED)
    act.act_on.fn(decision)
    assert raised == [(EventName.DRIFT, decision)]
    assert act.summary_of(decision).drift


def test_a_drift_that_nobody_answers_is_raised_again_until_a_round_does(
    ctx: Context, raised: Raised
) -> None:
    drift = decide(ctx, 1, Action.LABEL_SERVED)
    quiet = decide(ctx, 11, Action.NONE)
    for decision in (quiet, None):
        act.act_on.fn(decision)
    assert raised == [(EventName.DRIFT, drift)] * 2
    with writing(ctx.engine) as connection:
        answer_decision(connection, drift, "round-0001")
    act.act_on.fn(quiet)
    assert len(raised) == 2


def test_a_training_that_is_due_is_asked_for(ctx: Context, raised: Raised) -> None:
    decision = decide(ctx, 1, Action.NONE, training=True)
    act.act_on.fn(decision)
    assert raised == [(EventName.RETRAIN, decision)]


def test_a_decision_can_ask_for_labels_and_for_a_training(ctx: Context, raised: Raised) -> None:
    decision = decide(ctx, 1, Action.LABEL_SERVED, training=True)
    act.act_on.fn(decision)
    assert raised == [(EventName.RETRAIN, decision), (EventName.DRIFT, decision)]


def test_the_incident_of_a_decision_has_its_page(ctx: Context, raised: Raised) -> None:
    with writing(ctx.engine) as connection:
        incident = next_incident(connection)
        made = Evaluation("hone:1", 1, 9, Action.NONE, "alert", "a fault", incident_id=incident)
        decision = record_evaluation(connection, made)
        open_incident(connection, decision, model="hone:1", kind=None, step="alert")
    act.act_on.fn(decision)
    page = ctx.workspace.root / "reports" / f"{incident}.md"
    assert "a fault" in page.read_text(encoding="utf-8")


def test_the_page_of_a_drift_shows_the_images_that_moved_most(
    ctx: Context, raised: Raised, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    monkeypatch.setattr(
        "tasks.report.artifacts.publish_page", lambda **page: pages.append(page["markdown"])
    )
    monkeypatch.setattr(act, "exemplar_strip", lambda *given: b"strip of " + given[1][0].encode())
    made = Evaluation(
        "hone:1", 1, 9, Action.LABEL_SERVED, "label", "drift", exemplars=["prediction-7"]
    )
    with writing(ctx.engine) as connection:
        decision = record_evaluation(connection, made)
    act.act_on.fn(decision)
    shown = base64.b64encode(b"strip of prediction-7").decode()
    assert pages[0].endswith(f"![images](data:image/png;base64,{shown})")
    monkeypatch.setattr(act, "exemplar_strip", lambda *_: None)  # they are erased
    act.act_on.fn(decision)
    assert "Images that moved most" not in pages[1]
