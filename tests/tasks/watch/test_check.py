"""A check of served traffic: decided once, recorded whole, and safe to kill anywhere."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import func, insert, select

from core.database import now, writing
from models.registry import releases
from models.registry.halts import current_halt
from models.serving.prediction_store import predictions
from models.watching import decisions, incidents
from models.watching.decisions import DecisionRecord, answer_decision
from models.watching.incidents import Incident
from models.watching.outcome_tables import truth_counts, truths
from models.watching.outcomes import COUNTED
from models.watching.signals import Action, Signal, WatchPolicy
from tasks.context import Context
from tasks.operate.watch_records import accept_drift
from tasks.predictions import load_version
from tasks.report.label_budget import grant_labels
from tasks.watch import check, reference
from tests.models.registry.named_models import add_models, challenge
from tests.models.saved_models import CLASSES
from tests.tasks.watch.test_service_counters import answering
from tests.tasks.watch.traffic import SHIFTED, make_context, release_model, serve

POLICY = WatchPolicy(min_rows=20, window=200, detectors=("ks",))


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    return make_context(tmp_path, monkeypatch)


def champion(ctx: Context) -> str:
    version = releases.champion(ctx.engine)
    assert version is not None
    return version


def checked(ctx: Context, policy: WatchPolicy = POLICY) -> DecisionRecord:
    decision_id = check.check_window.fn(policy)
    assert decision_id is not None
    return decisions.find_decision(ctx.engine, decision_id)


def served(ctx: Context, count: int, policy: WatchPolicy = POLICY, **more: float) -> DecisionRecord:
    serve(ctx.engine, champion(ctx), count, **more)  # type: ignore[arg-type]
    return checked(ctx, policy)


def rows_tested(made: DecisionRecord) -> set[int]:
    """The rows that the detectors tested."""
    return {one.rows for one in made.signals if one.name.startswith("ks-")}


def the_incident(ctx: Context) -> Incident:
    with ctx.engine.connect() as connection:
        return incidents.find_incident(connection)


def drifted(ctx: Context) -> DecisionRecord:
    """The decision on traffic that drifted, windows of it until the alarm."""
    for _ in range(10):
        made = served(ctx, 100, shift=SHIFTED)
        if made.action == "label-served":
            return made
    raise AssertionError("traffic that is all of another kind raised no alarm in ten windows")


def test_clean_traffic_is_a_decision_too_and_says_why_not(ctx: Context) -> None:
    made = served(ctx, 100)
    assert (made.action, made.step, made.incident_id) == ("none", "none", None)
    assert (made.first_seq, made.last_seq) == (1, 100)
    assert made.why_not is not None and len(made.why_not) >= 4
    assert made.cost is not None and made.cost["rows"] == 100
    assert {signal.name for signal in made.signals} >= {
        "ks-probabilities", "ks-embeddings", "lag", "broken", "f1",
    }  # fmt: skip
    assert made.threshold == pytest.approx(7.68, abs=0.01)  # one alarm in 2,160 checks


def test_too_little_traffic_waits_and_is_tested_with_what_comes(ctx: Context) -> None:
    made = served(ctx, 5)
    assert (made.action, made.first_seq, made.last_seq, made.signals) == ("none", 1, 0, ())
    assert made.reason.startswith("5 images served since the last check, 20 are needed")
    made = served(ctx, 50)
    assert (made.first_seq, made.last_seq) == (1, 55)
    assert checked(ctx).reason.startswith("0 images served since the last check")


def test_drift_opens_an_incident_and_asks_for_labels_once(ctx: Context) -> None:
    made = drifted(ctx)
    assert (made.step, made.incident_id) == ("label", "incident-0001")
    again = [served(ctx, 100, shift=SHIFTED) for _ in range(8)]
    assert {one.action for one in again} == {"none"}
    assert {one.incident_id for one in again} == {"incident-0001"}
    assert any("the drift is known" in str(one.why) for one in again)
    assert the_incident(ctx).closed_at is None
    assert [one.what for one in the_incident(ctx).events] == ["opened"]


def test_a_drift_that_cannot_be_paid_for_says_so(ctx: Context) -> None:
    grant_labels(ctx, 3)
    for _ in range(10):
        made = served(ctx, 100, shift=SHIFTED)
        if made.step == "alert":
            break
    assert (made.action, made.incident_id) == ("none", "incident-0001")
    assert "the label budget has 3 left" in made.reason
    grant_labels(ctx, 10_000)
    again = [served(ctx, 100, shift=SHIFTED).action for _ in range(5)]
    assert again.count(Action.LABEL_SERVED) == 1


def test_an_incident_ends_when_the_traffic_is_calm_again(ctx: Context) -> None:
    drifted(ctx)
    made = [served(ctx, 100) for _ in range(12)]
    closed = the_incident(ctx)
    assert closed.closed_at is not None
    assert closed.events[-1].what == "closed"
    assert made[-1].incident_id is None


def test_a_model_that_learnt_the_drift_ends_the_incident(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = drifted(ctx)
    with writing(ctx.engine) as connection:
        answer_decision(connection, made.decision_id, "round-0001")
    release_model(ctx, seed=1, shift=SHIFTED)
    monkeypatch.setattr("tasks.watch.standing._knows", lambda *_: True)
    serve(ctx.engine, champion(ctx), 100, shift=SHIFTED)
    after = checked(ctx)
    assert (after.action, after.step) == ("none", "none")
    assert [one.what for one in the_incident(ctx).events] == ["opened", "release", "closed"]


def test_traffic_that_a_person_accepts_is_part_of_the_reference(ctx: Context) -> None:
    made = drifted(ctx)
    assert accept_drift(made.decision_id, who="ann", why="a new camera").ended == "incident-0001"
    assert the_incident(ctx).closed_at is not None
    assert [one.who for one in the_incident(ctx).events] == ["hone", "ann", "hone"]
    served(ctx, 100, shift=SHIFTED)
    with ctx.engine.connect() as connection:
        state = decisions.load_state(connection, champion(ctx)).state
    assert state["detectors"]["reference"] == {"known": [made.decision_id]}


def test_broken_rows_are_set_aside_and_the_rest_is_tested(ctx: Context) -> None:
    made = served(ctx, 100, broken=3)
    assert made.action == "none" and rows_tested(made) == {97}
    blind = served(ctx, 100, broken=90)
    assert (blind.action, blind.step, blind.kind) == (
        "cannot-tell", "alert", "instrumentation fault",
    )  # fmt: skip
    assert "90 of 100 rows are not finite or unreadable" in blind.reason
    meanings = {one.name: one.meaning for one in blind.signals}
    assert meanings["ks"].startswith("10 different images in the window, 90 broken ones set aside")


def test_a_canarys_traffic_is_counted_and_not_tested(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(ctx.engine, "hone:canary", 70, shift=SHIFTED)
    made = served(ctx, 60)
    assert made.action == "none" and rows_tested(made) == {60}
    assert "70 predictions of hone:canary, which is not in service" in capsys.readouterr().out
    add_models(ctx.engine, "hone:canary", classes=list(CLASSES))
    challenge(ctx.engine, "hone:canary", share=10.0)
    serve(ctx.engine, "hone:canary", 40, shift=SHIFTED)
    assert rows_tested(served(ctx, 60)) == {60}
    assert "not in service" not in capsys.readouterr().out


def test_a_model_that_was_deleted_is_cannot_tell_and_its_traffic_waits(ctx: Context) -> None:
    shutil.rmtree(ctx.workspace.bento_home)
    made = served(ctx, 100, shift=SHIFTED)
    assert (made.action, made.first_seq, made.last_seq) == ("cannot-tell", 1, 0)
    assert made.reason.startswith("Cannot tell. ks:")
    recorded = made.reason + "".join(one.meaning for one in made.signals)
    assert str(ctx.workspace.root) not in recorded  # it is sent to others


def test_a_detector_that_fails_does_not_switch_off_the_others(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("/home/ann/work/model.onnx hurts")

    monkeypatch.setitem(check.measure.__globals__["DETECTORS"], "failing", fail)
    made = served(ctx, 100, WatchPolicy(min_rows=20, detectors=("failing", "ks")))
    by_name = {one.name: one for one in made.signals}
    assert by_name["failing"].meaning.startswith("it failed (RuntimeError;")
    assert by_name["ks-probabilities"].outcome == "no drift" and made.action == "none"


def judge(ctx: Context, first: int, count: int, *, right: bool) -> None:
    """Truths of predictions, all as served or all another class."""
    counted: Counter[tuple[str, ...]] = Counter()
    with writing(ctx.engine) as connection:
        query = select(predictions).where(predictions.c.seq.between(first, first + count - 1))
        for row in connection.execute(query.order_by(predictions.c.seq)).all():
            served_class = int(np.argmax(row.probabilities))
            truth = CLASSES[(served_class + (not right)) % len(CLASSES)]
            values = {"prediction_id": row.prediction_id, "number": row.seq, "model": row.model}
            values |= {"sample_id": row.sample_id, "hour": now()[:13], "slice": ""}
            values |= {"label": CLASSES[served_class], "truth": truth, "standing": "judges"}
            connection.execute(insert(truths).values(**values))
            counted[tuple(str(values[name]) for name in COUNTED)] += 1
        for key, rows in counted.items():
            named = dict(zip(COUNTED, key, strict=True))
            connection.execute(insert(truth_counts).values(**named, rows=rows))


@pytest.fixture
def labelled(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot of the champion, in which its held-out rows are labelled as it answers."""
    outputs = load_version(ctx, champion(ctx)).reference.outputs
    table = pd.DataFrame({"sample_id": [f"ref{row}" for row in range(len(outputs))]})
    table["label"] = [CLASSES[row] for row in outputs.argmax(axis=1)]
    table["group_id"], table["round_id"] = table["sample_id"], "round-0001"
    monkeypatch.setattr(reference, "load_snapshot", lambda *_: table)


def test_truths_that_show_a_decline_ask_for_labels_without_new_traffic(
    ctx: Context, labelled: None
) -> None:
    assert served(ctx, 100).action == "none"
    judge(ctx, 1, 30, right=True)
    made = checked(ctx)
    assert (made.action, made.first_seq, made.last_seq) == ("none", 101, 100)
    assert {one.name: one.outcome for one in made.signals}["accuracy"] == "no drift"
    judge(ctx, 31, 40, right=False)
    made = checked(ctx)
    assert (made.action, made.step) == ("label-served", "label")
    assert made.why is not None and made.why[0].startswith("label: alarm by decay")
    assert checked(ctx).signals == ()  # every truth is counted once


@pytest.mark.parametrize("killed", ["open_incident", "save_state", "record_evaluation"])
def test_a_check_that_is_killed_leaves_nothing_and_the_next_one_decides_the_same(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    serve(ctx.engine, champion(ctx), 200, shift=SHIFTED)
    serve(ctx.engine, champion(ctx), 200, shift=SHIFTED)
    policy = WatchPolicy(min_rows=20, window=400, detectors=("ks",), alarms_per_quarter=100)
    place = incidents if killed == "open_incident" else decisions
    real = getattr(place, killed)

    def dies(*given: object, **more: object) -> None:
        real(*given, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(place, killed, dies)
        with pytest.raises(KeyboardInterrupt):
            check.check_window.fn(policy)
    with ctx.engine.connect() as connection:
        tables = (decisions.decisions, decisions.signals, decisions.watch_states,
                  incidents.incidents, incidents.incident_events)  # fmt: skip
        assert all(connection.scalar(select(func.count()).select_from(one)) == 0 for one in tables)
    made = checked(ctx, policy)
    assert (made.action, made.first_seq, made.last_seq) == ("label-served", 1, 400)


def test_a_check_that_another_overtook_records_nothing(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(ctx.engine, champion(ctx), 100)
    real = check.measure

    def slow(*given: object) -> object:
        measured = real(*given)  # type: ignore[arg-type]
        monkeypatch.setattr(check, "measure", real)
        check.check_window.fn(POLICY)
        return measured

    monkeypatch.setattr(check, "measure", slow)
    assert check.check_window.fn(POLICY) is None
    assert "checked up to 100 in the meantime" in capsys.readouterr().out


def test_a_check_of_truths_that_another_overtook_records_nothing(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, labelled: None
) -> None:
    made = served(ctx, 100)
    judge(ctx, 1, 60, right=False)
    real = check.measure

    def slow(*given: object) -> object:
        measured = real(*given)  # type: ignore[arg-type]
        monkeypatch.setattr(check, "measure", real)
        assert check.check_window.fn(POLICY) not in (None, made.decision_id)
        return measured

    monkeypatch.setattr(check, "measure", slow)
    assert check.check_window.fn(POLICY) is None


def test_a_check_reads_nothing_before_it_is_the_only_writer(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = check.load_circumstances

    def read(*given: object) -> object:
        order.append("read")
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("core.journal.lock", lambda _: order.append("lock"))
    monkeypatch.setattr(check, "load_circumstances", read)
    checked(ctx)
    assert order[:2] == ["lock", "read"]


def test_the_service_halts_by_the_policy_and_not_without_evidence(
    ctx: Context, labelled: None
) -> None:
    policy = WatchPolicy(min_rows=20, window=200, detectors=("ks",), halt="refuse", halt_below=0.5)
    assert served(ctx, 100, policy).step == "none"
    assert current_halt(ctx.engine) is None
    judge(ctx, 1, 60, right=False)
    made = checked(ctx, policy)
    assert (made.step, made.incident_id) == ("halt", "incident-0001")
    assert made.estimate is not None and "on 60 truths" in made.estimate["measured_accuracy"]
    halt = current_halt(ctx.engine)
    assert halt is not None
    assert (halt.policy, halt.decision_id, halt.release) == ("refuse", made.decision_id, 1)
    assert halt.halted_at <= now()
    again = checked(ctx, policy)
    assert any("halted already" in line for line in again.why_not or ())
    release_model(ctx, seed=1)
    assert current_halt(ctx.engine) is None


def test_the_kind_of_a_drift_is_named_with_its_remedies_and_the_accuracy_estimated(
    ctx: Context, labelled: None
) -> None:
    made = served(ctx, 100)
    assert made.kind is None
    assert made.estimate is not None and made.estimate["estimate"]
    assert "remedies" not in made.estimate
    made = drifted(ctx)
    assert made.kind is not None and made.kind != "instrumentation fault"
    assert (
        made.estimate is not None and made.estimate["remedies"] and made.estimate["kind_evidence"]
    )


def test_images_that_the_service_refused_are_a_signal_once_its_counters_are_read(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(made: DecisionRecord) -> Signal:
        return next(one for one in made.signals if one.name == "refused")

    assert "HONE_SERVICE_URL is not set" in refused(served(ctx, 100)).meaning
    monkeypatch.setenv("HONE_SERVICE_TOKEN", "sixteen-letters-x")
    totals = [
        b'hone_images_total{outcome="answered"} %d\nhone_images_total{outcome="TEXT"} %d\n' % each
        for each in ((100, 1), (200, 2), (300, 3), (400, 60))
    ]
    outcomes = []
    for content in totals:
        with answering(content) as settings:
            monkeypatch.setenv("HONE_SERVICE_URL", str(settings.service_url))
            outcomes.append(refused(served(ctx, 100)).outcome)
    assert outcomes == ["cannot tell", "no drift", "no drift", "drift"]
