"""A trial goes on by itself, is held by a person, and is ended by evidence; all of it on record."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert

from core.database import now, writing
from models.registry.challengers import end_challenger, set_front
from models.registry.releases import Action, Mode, Release, current_release, release_rows
from models.rollout.criteria import ABSTENTIONS, DISAGREEMENT, ERRORS, LATENCY, OUTCOMES, TESTS
from models.rollout.store import trials
from models.serving.prediction_store import drain
from models.serving.segments import SegmentWriter
from models.serving.shadow_records import FOLDER, Live, ShadowAnswer, ShadowRecord, record_of
from models.watching.alerts import Kind, newest_alerts
from models.watching.incidents import list_incidents
from models.watching.outcome_tables import Standing, truths
from tasks.context import Context, open_context
from tasks.operate import mend
from tasks.operate.status import load_status
from tasks.operate.trial_standing import standing_of_trial
from tasks.retrain.release import release_winner
from tasks.watch import trial
from tests.models.registry.named_models import A, B, C, add_models, challenge, judge, promote
from tests.models.saved_models import make_workspace
from tests.models.serving.test_prediction_store import served
from tests.models.watching import feedback_given

POLICY = '[release]\npath = "shadow"\nmin_requests = 20\nmin_hours = 0.0\ncanary_share = 25\n'
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
METRICS = {"rows": 400, "champion_accuracy": 0.98, "only_challenger_right": 6,
           "only_champion_right": 1}  # fmt: skip


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    workspace, engine = make_workspace(tmp_path / "workspace")
    with (workspace.root / "hone.toml").open("a") as file:
        file.write(POLICY)
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    add_models(engine, A, B)
    promote(engine, A)
    engine.dispose()
    return open_context()


@pytest.fixture
def in_shadow(ctx: Context) -> Context:
    assert release_winner.fn(verdict(ctx)) is None
    return ctx


def verdict(ctx: Context) -> str:
    from models.judging.verdict import Outcome, Verdict
    from models.registry.versions import record_verdict

    return record_verdict(
        ctx.engine, challenger=B, champion=A, snapshot="s", rows_fingerprint="f",
        verdict=Verdict(Outcome.PROMOTE, ["a gain is shown"], METRICS),
    )  # fmt: skip


def current(ctx: Context) -> Release:
    made = current_release(ctx.engine)
    assert made is not None
    return made


def at(number: int) -> str:
    """A time in a block of its own."""
    return (BEGAN + timedelta(seconds=10 * number)).isoformat(timespec="microseconds")


def answer(number: int, **changes: Any) -> ShadowAnswer:
    """A sound answer to an image of its own."""
    usual = ShadowAnswer(f"{number:032x}", f"{number:064x}", None, at(number), "cat", False, "cat",
                         0.9, False)  # fmt: skip
    return replace(usual, **changes)


def record(ctx: Context, answers: Sequence[ShadowAnswer] = (), **more: Any) -> None:
    """What a worker records."""
    usual = ShadowRecord(uuid.uuid4().hex, current(ctx).number, A, B, now(), passed_over=1)
    made = [replace(usual, record_id=uuid.uuid4().hex, answers=tuple(answers[first : first + 50]))
            for first in range(0, len(answers), 50)] or [usual]  # fmt: skip
    made[0] = replace(made[0], **more)
    writer = SegmentWriter(ctx.workspace.traffic / FOLDER)
    writer.append_parts([(record_of(one), b"") for one in made])
    writer.close()


def live(ctx: Context, **counts: Live) -> None:
    """What both models answered to clients, in sixty blocks."""
    for number in range(60):
        record(ctx, [], at=at(number), **counts)


def test_a_promoted_version_goes_on_by_itself_and_every_step_has_its_evidence(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict_id = verdict(ctx)
    assert release_winner.fn(verdict_id) is None
    assert (current(ctx).mode, current(ctx).challenger, current(ctx).champion) == ("shadow", B, A)
    assert release_winner.fn(verdict_id) is None  # again: one trial
    assert current(ctx).number == 2
    assert "had its trial" in capsys.readouterr().out

    record(ctx, [answer(number) for number in range(19)])
    assert trial.advance_trial.fn() is None
    assert "waits for 1 more images, then canary" in str(load_status(ctx).trial)
    record(ctx, [answer(99)])
    assert trial.advance_trial.fn() is None
    canary = current(ctx)
    assert (canary.mode, canary.share, canary.champion) == (Mode.CANARY, 25.0, A)
    assert canary.evidence is not None
    assert (canary.evidence["compared"], canary.evidence["passed_over"]) == (20, 2)
    assert canary.evidence["verdict"] == verdict_id
    assert len(canary.evidence["criteria"]) == len(TESTS)

    record(ctx, challenger_live=Live(19))
    assert trial.advance_trial.fn() is None
    record(ctx, challenger_live=Live(1))
    assert trial.advance_trial.fn() == B
    full = current(ctx)
    assert (full.champion, full.challenger, full.verdict_id) == (B, None, verdict_id)
    assert full.evidence is not None and full.evidence["step"] == "canary"
    assert trial.advance_trial.fn() is None
    assert load_status(ctx).trial is None


def test_what_cannot_be_compared_waits_for_a_person(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    add_models(ctx.engine, "hone:0009-e", classes=["cat", "dog", "eel"])
    assert release_winner.fn(judge(ctx.engine, "hone:0009-e", A)) is None
    assert "waits for a person's word: hone:0009-e answers" in capsys.readouterr().out
    challenge(ctx.engine, B, who="Ada")
    verdict_id = verdict(ctx)
    assert release_winner.fn(verdict_id) is None  # a person holds a trial already
    assert f"Ada holds {B} in shadow" in capsys.readouterr().out
    assert current(ctx).who == "Ada"


@pytest.mark.parametrize("path", ["direct", "shadow", "canary"])
@pytest.mark.parametrize("share", [0.0, 5.0])
def test_a_trial_that_a_person_holds_is_not_ended_for_a_promoted_version(
    ctx: Context, path: str, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ctx.workspace.root / "hone.toml"
    settings.write_text(settings.read_text().replace('path = "shadow"', f'path = "{path}"'))
    add_models(ctx.engine, C)
    challenge(ctx.engine, B, share=share, who="Ada")
    held = current(ctx)
    verdict_id = judge(ctx.engine, C, A)
    assert release_winner.fn(verdict_id) is None
    assert current(ctx) == held
    assert f"{C} is promoted and waits: Ada holds {B}" in capsys.readouterr().out
    assert f"{C} is promoted and waits for Ada to end that" in str(load_status(ctx).trial)
    end_challenger(ctx.engine, who="Ada", why="enough", expected=held.number)
    assert release_winner.fn(verdict_id) == (C if path == "direct" else None)
    assert C in (current(ctx).champion, current(ctx).challenger)


def test_nothing_recorded_moves_nothing(in_shadow: Context) -> None:
    for _ in range(3):
        assert trial.advance_trial.fn() is None
    assert current(in_shadow).number == 2
    standing = standing_of_trial(in_shadow)
    assert standing is not None
    assert not any(one.fired for one in standing.criteria)


def break_it(ctx: Context, name: str) -> None:
    """Record what only the test of this name fires on."""
    numbers = range(60)
    if name == ERRORS:
        record(ctx, [answer(one, label=None, confidence=None, needs_review=None, error="no")
                     if one % 2 else answer(one) for one in numbers])  # fmt: skip
    elif name == LATENCY:
        for number in numbers:
            record(ctx, at=at(number), timings=((0.01, 0.03),))
    elif name == ABSTENTIONS:
        record(ctx, [answer(one, needs_review=one % 2 == 0) for one in numbers])
    elif name == DISAGREEMENT:
        record(ctx, [answer(one, label="dog" if one % 2 else "cat") for one in numbers])
    else:
        record(ctx, [answer(one, label="dog" if one % 16 == 0 else "cat") for one in range(960)])
        rows = [{"prediction_id": f"{one:032x}", "number": one, "model": A, "sample_id": "s",
                 "hour": "h", "slice": "", "label": "cat", "truth": "cat",
                 "standing": Standing.JUDGES} for one in range(0, 960, 16)]  # fmt: skip
        with writing(ctx.engine) as connection:
            connection.execute(insert(truths), rows)


@pytest.mark.parametrize("name", TESTS)
def test_each_test_ends_the_trial_with_its_evidence_an_alert_and_an_incident(
    in_shadow: Context, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(in_shadow, name)
    assert trial.advance_trial.fn() is None
    ended = current(in_shadow)
    assert (ended.action, ended.champion, ended.challenger) == (Action.ABORT, A, None)
    assert ended.evidence is not None
    fired = {one["name"] for one in ended.evidence["criteria"] if one["fired"]}
    assert fired == {name}
    assert f"{B} is withdrawn, {A} answers alone: {name}" in capsys.readouterr().out
    trial.advance_trial.fn()  # nothing is reported twice
    with in_shadow.engine.connect() as connection:
        alerts, incidents = newest_alerts(connection, 9), list_incidents(connection)
    assert [one.kind for one in alerts] == [Kind.ABORT]
    assert name in alerts[0].body
    [incident] = incidents
    assert [one.what for one in incident.events] == ["opened", "abort", "closed"]
    assert incident.events[1].detail["release"] == ended.number
    assert release_winner.fn(verdict(in_shadow)) is None  # it is not tried again by itself
    assert current(in_shadow) == ended


def behind_a_front(ctx: Context, *, answered: int, left: int) -> None:
    """A trial in a cascade whose front model answers so many images and leaves so many over."""
    add_models(ctx.engine, C)
    set_front(
        ctx.engine, front=C, threshold=0.9, who="Ada", why="cheaper", expected=current(ctx).number
    )
    assert release_winner.fn(verdict(ctx)) is None
    assert (current(ctx).front, current(ctx).challenger) == (C, B)
    writer = SegmentWriter(ctx.workspace.traffic)
    served_by = [C] * answered + [A] * left
    writer.append(
        [
            (replace(served(number, b"image", model), served_at=now()), b"image")
            for number, model in enumerate(served_by)
        ]
    )
    writer.close()
    drain(ctx.engine, ctx.workspace.traffic)


@pytest.mark.parametrize("name", TESTS)
def test_what_a_front_model_leaves_over_ends_a_trial_by_all_tests(ctx: Context, name: str) -> None:
    behind_a_front(ctx, answered=10, left=190)
    break_it(ctx, name)
    trial.advance_trial.fn()
    ended = current(ctx)
    assert ended.action == Action.ABORT and ended.evidence is not None
    assert 0.90 < ended.evidence["left_over"] < 0.95


@pytest.mark.parametrize("name", [ABSTENTIONS, DISAGREEMENT])
def test_the_less_a_front_model_leaves_over_the_more_of_it_may_differ(
    ctx: Context, name: str
) -> None:
    """Half of a tenth of the traffic is a twentieth of all."""
    behind_a_front(ctx, answered=180, left=20)
    break_it(ctx, name)
    trial.advance_trial.fn()
    assert current(ctx).action != Action.ABORT
    standing = str(load_status(ctx).trial)
    assert "of all at least, by which tolerances are divided" in standing


@pytest.mark.parametrize("name", TESTS)
def test_a_cascade_that_is_changed_in_a_trial_leaves_it_to_errors_and_latency(
    in_shadow: Context, name: str
) -> None:
    """Its evidence is of parts of the traffic that do not compare."""
    add_models(in_shadow.engine, C)
    about: dict[str, Any] = {"who": "Ada", "why": "cheaper"}
    for front in (C, None):  # evidence of the hard part stays in the trial when the front is off
        threshold = None if front is None else 0.9
        set_front(
            in_shadow.engine, front=front, threshold=threshold, expected=current(in_shadow).number,
            **about,
        )  # fmt: skip
    break_it(in_shadow, name)
    trial.advance_trial.fn()
    ended = current(in_shadow).action == Action.ABORT
    assert ended == (name in (ERRORS, LATENCY))
    if not ended:
        assert "only errors and latency can end it" in str(load_status(in_shadow).trial)


def test_a_canary_that_fails_clients_is_ended(in_shadow: Context) -> None:
    record(in_shadow, [answer(number) for number in range(20)])
    trial.advance_trial.fn()
    assert current(in_shadow).mode == Mode.CANARY
    live(in_shadow, champion_live=Live(75, 0), challenger_live=Live(15, 10))
    trial.advance_trial.fn()
    ended = current(in_shadow)
    assert (ended.action, ended.champion) == (Action.ABORT, A)
    assert "errors" in ended.why


def test_a_canary_in_which_the_champion_fails_alike_goes_on(in_shadow: Context) -> None:
    record(in_shadow, [answer(number) for number in range(20)])
    trial.advance_trial.fn()
    live(in_shadow, champion_live=Live(45, 30), challenger_live=Live(15, 10))
    assert trial.advance_trial.fn() == B


def test_a_person_who_placed_it_holds_it_and_evidence_ends_it_all_the_same(ctx: Context) -> None:
    verdict(ctx)
    challenge(ctx.engine, B, share=5.0, who="Ada")
    record(ctx, [answer(number) for number in range(200)], challenger_live=Live(200))
    trial.advance_trial.fn()
    assert (current(ctx).mode, current(ctx).who) == (Mode.CANARY, "Ada")
    assert "Ada holds it" in str(load_status(ctx).trial)
    answers = [answer(number, label="dog") for number in range(1000, 1060)]
    record(ctx, answers)
    trial.advance_trial.fn()
    assert (current(ctx).action, current(ctx).champion) == (Action.ABORT, A)


def test_without_a_verdict_that_promotes_nothing_goes_on(ctx: Context) -> None:
    judge(ctx.engine, B, A, "HOLD")
    challenge(ctx.engine, B, who="hone retrain")  # a flow may compare any version, in shadow
    record(ctx, [answer(number) for number in range(200)])
    trial.advance_trial.fn()
    assert current(ctx).mode == Mode.SHADOW
    assert "no PROMOTE verdict" in str(load_status(ctx).trial)


def test_what_is_repeated_or_checked_twice_is_no_more_evidence(in_shadow: Context) -> None:
    record(in_shadow, [answer(number, label="dog") for number in range(6)])
    trial.advance_trial.fn()
    before = standing_of_trial(in_shadow)
    again = [answer(number, label="dog", prediction_id=f"{number + 900:032x}",
                    served_at=at(number + 500)) for number in range(6)]  # fmt: skip
    record(in_shadow, again)
    trial.advance_trial.fn()
    trial.advance_trial.fn()
    after = standing_of_trial(in_shadow)
    assert before is not None and after is not None
    assert after.criteria == before.criteria
    assert before.criteria[3].observations == 6


def test_a_truth_counts_once_though_it_is_corrected_or_made_again(in_shadow: Context) -> None:
    engine = in_shadow.engine
    served = range(1, 7)
    feedback_given.serve(engine, ["cat"] * 7)

    def give(number: int, value: str, hour: int = 13) -> None:
        at = f"2026-01-01T{hour}:00:00Z"
        feedback_given.record(engine, feedback_given.truth(number, value, at=at))

    def checked() -> tuple[int, float]:
        trial.advance_trial.fn()
        standing = standing_of_trial(in_shadow)
        assert standing is not None
        [outcomes] = [one for one in standing.criteria if one.name == OUTCOMES]
        return outcomes.observations, outcomes.log_evidence

    record(in_shadow, [answer(number, label="dog" if number < 4 else "cat") for number in served])
    for number in served:
        give(number, "cat")
    before = checked()
    assert before[0] == 6

    give(1, "eel", hour=14)  # corrected
    give(1, "cat", hour=15)  # and settled as it was
    assert checked() == before
    with writing(engine) as connection:  # so that all are made again, with higher numbers
        connection.execute(delete(truths).where(truths.c.number == 2))
    mend._truths(in_shadow)
    assert checked() == before

    record(in_shadow, [answer(7)])
    give(7, "cat")
    last = checked()
    assert last[0] == 7
    with writing(engine) as connection:
        connection.execute(delete(trials))
    assert checked()[0] == 7  # the state is lost: it is made again from what is stored


def test_an_abort_whose_check_was_killed_is_reported_by_the_next(
    in_shadow: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    break_it(in_shadow, DISAGREEMENT)
    with monkeypatch.context() as patched:
        patched.setattr(trial, "report_abort", killed)
        with pytest.raises(KeyboardInterrupt):
            trial.advance_trial.fn()
    assert current(in_shadow).action == Action.ABORT
    for _ in range(2):
        trial.advance_trial.fn()
    with in_shadow.engine.connect() as connection:
        assert len(newest_alerts(connection, 9)) == 1
        assert len(list_incidents(connection)) == 1


def test_a_person_who_is_faster_is_not_overruled(
    in_shadow: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(ctx: Context, standing: Any) -> str | None:
        end_challenger(ctx.engine, who="Ada", why="enough", expected=current(ctx).number)
        return acted(ctx, standing)

    acted = trial._act
    monkeypatch.setattr(trial, "_act", act)
    break_it(in_shadow, DISAGREEMENT)
    assert trial.advance_trial.fn() is None
    with in_shadow.engine.connect() as connection:
        assert [one.action for one in release_rows(connection)][-1] == Action.OFF
        assert newest_alerts(connection, 9) == []
    assert "was expected" in capsys.readouterr().out
