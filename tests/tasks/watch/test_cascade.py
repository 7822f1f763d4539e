"""A cascade under watch: each model's part is compared with the rows that would fall to it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.registry import releases
from models.registry.challengers import set_front
from models.registry.model_store import save_model
from models.scoring.predict import Predictions
from models.watching import decisions
from models.watching.decisions import DecisionRecord
from models.watching.signals import WatchPolicy
from tasks.context import Context
from tasks.predictions import load_version
from tasks.watch import cascade, check, reference
from tasks.watch.cascade import WHOLE, Division
from tasks.watch.measure import measure
from tests.models.saved_models import make_card, make_network
from tests.tasks.watch.traffic import (
    REFERENCE,
    SHIFTED,
    make_context,
    rows_like,
    serve_rows,
)

THRESHOLD = 0.6
POLICY = WatchPolicy(min_rows=20, window=300, detectors=("ks",))


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A champion with a front model that is as sure as the champion, of the same images."""
    ctx = make_context(tmp_path, monkeypatch)
    monkeypatch.setattr(cascade, "FOLLOWED_SECONDS", 0.0)
    monkeypatch.setattr(reference, "load_snapshot", lambda *_: labels())
    monkeypatch.setattr(reference, "image_statistics", lambda *_: pytest.fail("no image is here"))

    def predict_with(ctx: Context, version: str, rows: pd.DataFrame) -> Any:
        numbers = [int(name.removeprefix("ref")) for name in rows["sample_id"]]
        known = rows_like(REFERENCE, 0.0, seed=1000)
        return load_version(ctx, version), Predictions(
            known.outputs[numbers], known.embeddings[numbers]
        )

    monkeypatch.setattr(cascade, "predict_with", predict_with)
    return ctx


def labels() -> pd.DataFrame:
    names = [f"ref{row}" for row in range(REFERENCE)]
    return pd.DataFrame({"sample_id": names, "label": "cat", "group_id": names, "round_id": None,
                         "shard": "away.tar", "offset": 0, "length": 1,
                         "stored_sha256": "0" * 64})  # fmt: skip


def add_front(ctx: Context) -> str:
    """A front model is set; its version."""
    version = save_model(
        ctx.engine, ctx.workspace.bento_home, make_network(5), make_card(seed=5),
        rows_like(REFERENCE, 0.0, seed=2000), [f"ref{row}" for row in range(REFERENCE)],
    )  # fmt: skip
    change(ctx, version, THRESHOLD)
    return version


def change(ctx: Context, front: str | None, threshold: float | None) -> None:
    current = releases.current_release(ctx.engine)
    assert current is not None
    set_front(
        ctx.engine, front=front, threshold=threshold, who="ann", why="a test",
        expected=current.number,
    )  # fmt: skip


def serve_cascade(ctx: Context, front: str, seed: int, *, shift: float = 0.0) -> None:
    """Traffic of 400 images: what the front model is sure of, and the rest, of the champion."""
    champion = releases.champion(ctx.engine)
    made = rows_like(400, shift, seed=seed)
    is_sure = made.outputs.max(axis=1) >= THRESHOLD
    for version, mine in ((front, is_sure), (str(champion), ~is_sure)):
        serve_rows(ctx.engine, version, Predictions(made.outputs[mine], made.embeddings[mine]))


def checked(ctx: Context) -> DecisionRecord:
    decision_id = check.check_window.fn(POLICY)
    assert decision_id is not None
    return decisions.find_decision(ctx.engine, decision_id)


def test_clean_traffic_of_a_cascade_raises_no_alarm_and_both_parts_are_tested(
    ctx: Context,
) -> None:
    front = add_front(ctx)
    for seed in range(3):
        serve_cascade(ctx, front, seed)
        made = checked(ctx)
        assert made.action == "none", made.reason
    rows = {one.name: one.rows for one in made.signals}
    assert rows["ks-probabilities"] > 50 and rows["front ks-probabilities"] > 50
    assert rows["ks-probabilities"] + rows["front ks-probabilities"] == 400


def test_compared_with_all_held_out_rows_the_same_traffic_would_be_an_alarm(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = add_front(ctx)
    monkeypatch.setattr("tasks.watch.measure.division_of", lambda _: WHOLE)
    actions = set()
    for seed in range(5):
        serve_cascade(ctx, front, seed)
        actions.add(checked(ctx).action)
    assert "label-served" in actions


def test_a_drift_in_what_the_front_model_answers_is_an_alarm(ctx: Context) -> None:
    """Also where nothing is escalated any more: a model may be sure of what it does not know."""
    front = add_front(ctx)
    actions, alarm = set(), None
    for seed in range(8):
        made = rows_like(400, SHIFTED, seed=seed)
        is_sure = made.outputs.max(axis=1) >= THRESHOLD
        rows = Predictions(made.outputs[is_sure], made.embeddings[is_sure])
        serve_rows(ctx.engine, front, rows)
        decision = checked(ctx)
        actions.add(decision.action)
        alarm = alarm or (decision if decision.action == "label-served" else None)
    assert alarm is not None and "front ks-" in alarm.reason


def test_traffic_of_before_the_cascade_is_not_compared_with_a_part(ctx: Context) -> None:
    serve_rows(ctx.engine, str(releases.champion(ctx.engine)), rows_like(400, 0.0, seed=3))
    front = add_front(ctx)
    assert checked(ctx).reason.startswith("0 images served since the last check")
    serve_cascade(ctx, front, 4)
    checked(ctx)
    change(ctx, None, None)
    made = checked(ctx)
    assert not any(one.name.startswith("front") for one in made.signals)


def test_what_cannot_be_divided_is_not_compared(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise ValueError("its folder is gone")

    front = add_front(ctx)
    monkeypatch.setattr(cascade, "predict_with", fail)
    division = Division(front, THRESHOLD)
    loaded = load_version(ctx, str(releases.champion(ctx.engine)))
    made = reference.load_reference(ctx, loaded, division)
    assert len(made.window) == 0
    assert "leaves to" in " ".join(made.missing)


def test_the_hard_part_alone_is_not_the_accuracy_of_the_service(ctx: Context) -> None:
    """Or a service that halts below an accuracy would halt for having a front model."""
    front = add_front(ctx)
    serve_cascade(ctx, front, 0)
    measured = measure(ctx, str(releases.champion(ctx.engine)), POLICY)
    share = measured.share_in_front
    assert 0.3 < share < 0.9

    class Half:
        accuracy_high, kind, measured = 0.5, None, None

    evidence = check.evidence_of(measured, Half())  # type: ignore[arg-type]
    assert evidence.accuracy_high == pytest.approx(share + (1 - share) / 2)


def test_a_model_s_part_of_the_held_out_rows(ctx: Context) -> None:
    front = add_front(ctx)
    division = Division(front, THRESHOLD)
    champion = load_version(ctx, str(releases.champion(ctx.engine)))
    left = reference.load_reference(ctx, champion, division).window
    sure = reference.load_reference(ctx, load_version(ctx, front), division).window
    everything = reference.load_reference(ctx, champion).window
    assert 0 < len(left) < len(everything)
    assert np.all(left.outputs.max(axis=1) < THRESHOLD)
    assert np.all(sure.outputs.max(axis=1) >= THRESHOLD) and len(sure)
