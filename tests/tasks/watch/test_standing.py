"""How an incident stands: what a round has answered, and whether a model was trained on it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from core.database import now, writing
from core.intents import intents
from labeling.ledger.tables import assignments, rounds, samples, snapshots
from models.registry.releases import champion
from models.registry.versions import models
from models.watching.decisions import Evaluation, answer_decision, record_evaluation
from models.watching.incidents import next_incident, open_incident
from models.watching.signals import Action
from tasks.context import Context
from tasks.watch.standing import (
    Circumstances,
    hours_between,
    load_circumstances,
    print_awaited_answers,
)
from tests.tasks.watch.traffic import make_context, release_model


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    return make_context(tmp_path, monkeypatch)


def around(ctx: Context) -> Circumstances:
    model = champion(ctx.engine)
    assert model is not None
    with ctx.engine.connect() as connection:
        return load_circumstances(connection, model, {}, cooldown_hours=24.0)


def drift(ctx: Context) -> str:
    with writing(ctx.engine) as connection:
        incident, model = next_incident(connection), champion(ctx.engine)
        assert model is not None
        made = Evaluation(model, 1, 9, Action.LABEL_SERVED, "label", "-", incident_id=incident)
        decision = record_evaluation(connection, made)
        open_incident(connection, decision, model=model, kind=None, step="label")
    return decision


def answered(ctx: Context, *, asked: int, done: int) -> None:
    """A round of so many samples, of which so many are answered."""
    known = {"shard": "s", "offset": 0, "length": 1, "format": "PNG", "width": 8, "height": 8}
    known |= {"thumbnail": bytes(64), "origin": "served", "added_at": now()}
    row = {"round_id": "round-0001", "number": 1, "strategy": "margin", "seed": 0, "config": {}}
    with writing(ctx.engine) as connection:
        connection.execute(insert(rounds).values(**row, why="", chosen_at=now()))
        for number in range(asked):
            name = f"s{number}"
            one = {"sample_id": name, "stored_sha256": name, "group_id": name}
            connection.execute(insert(samples).values(**known, **one))
            about = {"round_id": "round-0001", "sample_id": name, "position": number}
            closed = now() if number < done else None
            connection.execute(
                insert(assignments).values(**about, reason="drift", closed_at=closed)
            )


def cut(ctx: Context, at: str) -> None:
    """The snapshot that models are trained on, cut at a moment."""
    row = {"name": "snapshot-0001", "number": 1, "fingerprint": "f", "table_sha256": "t"}
    row |= {"rows": 1, "commit": "c", "seed": 0, "created_at": at}
    with writing(ctx.engine) as connection:
        connection.execute(insert(snapshots).values(**row))


def test_without_an_incident_nothing_is_awaited(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not around(ctx).standing.is_open
    assert not around(ctx).facts.drift
    print_awaited_answers(ctx)
    assert capsys.readouterr().out == ""


def test_a_training_says_which_answers_the_drift_waits_for(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    decision = drift(ctx)
    print_awaited_answers(ctx)
    assert "it waits for the round that asks about it" in capsys.readouterr().out
    with writing(ctx.engine) as connection:
        answer_decision(connection, decision, "round-0001")
    answered(ctx, asked=3, done=1)
    print_awaited_answers(ctx)
    assert "the answers of round-0001, 1 of 3 are there" in capsys.readouterr().out
    standing = around(ctx).standing
    assert (standing.round_id, standing.asked, standing.answered) == ("round-0001", 3, 1)
    assert standing.hours_since_labels is not None and standing.hours_since_labels < 1


def test_a_model_that_was_trained_after_the_answers_knows_them(ctx: Context) -> None:
    decision = drift(ctx)
    with writing(ctx.engine) as connection:
        answer_decision(connection, decision, "round-0001")
    answered(ctx, asked=2, done=2)
    release_model(ctx, seed=1)
    assert not around(ctx).standing.retrained  # its snapshot is not on record
    cut(ctx, at="2000-01-01T00:00:00.000000+00:00")
    assert not around(ctx).standing.retrained
    with writing(ctx.engine) as connection:
        connection.execute(update(snapshots).values(created_at=now()))
    assert around(ctx).standing.retrained
    assert not around(ctx).facts.drift


def test_a_student_sets_back_no_retraining(ctx: Context) -> None:
    ago = (datetime.now(UTC) - timedelta(hours=10)).isoformat(timespec="microseconds")
    about = {"weights_sha256": "0", "code_commit": "x", "seed": 0, "config": {}, "metrics": {}}
    row = {"kind": "snapshot", "key": "snapshot-0002", "payload": {"teacher": "hone:1"}}
    about_intent = {"token": 1, "intended_at": now()}
    student = {"version": "hone:9-s", "snapshot": "snapshot-0002", "created_at": now(), **about}
    with writing(ctx.engine) as connection:
        connection.execute(update(models).values(created_at=ago))
        connection.execute(insert(models).values(**student))
        connection.execute(insert(intents).values(**row, **about_intent))
    assert around(ctx).facts.hours_since_training == pytest.approx(10, abs=0.1)


def test_a_batch_is_paid_for_by_the_size_that_the_last_one_had(ctx: Context) -> None:
    model = champion(ctx.engine)
    assert model is not None
    with writing(ctx.engine) as connection:
        before = load_circumstances(connection, model, {}, 24.0, labels_left=30).standing.unpaid
        assert before is not None and "a batch asks for 50 labels" in before
        row = {"strategy": "margin", "seed": 0, "why": "", "chosen_at": now()}
        for number, config in enumerate(
            ({"audit_share": 0.1, "size": 20}, {"duel": 1, "size": 90})
        ):
            about = {"round_id": f"round-{number}", "number": number, "config": config}
            connection.execute(insert(rounds).values(**row, **about))
        for left, is_paid in ((20, True), (19, False)):
            standing = load_circumstances(connection, model, {}, 24.0, left).standing
            assert (standing.unpaid is None) == is_paid


def test_hours_are_those_between_two_moments() -> None:
    first, last = "2026-01-01T00:00:00+00:00", "2026-01-01T01:30:00+00:00"
    assert hours_between(first, last) == 1.5
