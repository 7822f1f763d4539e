"""The learning curve of a workspace: gathered, scored, shown."""

import io
import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sqlalchemy import Engine, insert

from core.database import writing
from core.intervals import Interval
from core.workspace import init_workspace
from labeling.budget.forecasts import (
    Observations,
    Round,
    compare_choosing,
    curve_after,
    priced_forecast,
    score_forecasts,
)
from labeling.budget.learning_curve import BudgetPolicy, advise
from labeling.budget.report import BatchAccuracy, BudgetReport
from labeling.ledger.batch_queries import reasons_of_chosen
from labeling.ledger.tables import assignments, labels, rounds
from labeling.strategies import STRATEGIES
from models.registry.versions import models
from tasks.context import open_context
from tasks.report.batch_accuracy import batch_accuracies
from tasks.report.budget import budget_report
from tasks.report.budget_record import load_budget, save_budget
from tasks.report.budget_view import budget_page, draw_budget, show_budget
from tests.labeling.databases import make_engine

AUDIT, LABELLED = 120, 240


@pytest.fixture
def past() -> list[Round]:
    """Four snapshots that grow by 60 labels, each with a model, and the same audit rows."""
    rng = np.random.default_rng(0)
    names = [f"s{number:03d}" for number in range(AUDIT + LABELLED)]
    table = pd.DataFrame(
        {
            "sample_id": names,
            "label": rng.choice(["cat", "dog", "elk"], len(names)),
            "split": ["test"] * AUDIT + ["train"] * LABELLED,
            "inclusion_probability": [0.2] * AUDIT + [np.nan] * LABELLED,
        }
    )
    return [
        Round(f"snapshot-{number:04d}", table.head(AUDIT + 60 * number), f"hone:{number}")
        for number in (1, 2, 3, 4)
    ]


@pytest.fixture
def seen(past: list[Round]) -> Observations:
    """Features in which the classes can be told apart, and models that err ever less."""
    rng = np.random.default_rng(1)
    table = past[-1].table
    middles = rng.normal(0, 0.6, (3, 20))
    numbers = table["label"].map({"cat": 0, "dog": 1, "elk": 2}).to_numpy()
    rows = middles[numbers] + rng.normal(size=(len(table), 20))
    said = {}
    for place, one in enumerate(past):
        wrong = rng.random(AUDIT) < 0.3 / (place + 1)
        told = np.where(wrong, "no class", one.audit["label"])
        said[str(one.version)] = dict(zip(one.audit["sample_id"], told, strict=True))
    return Observations(dict(zip(table["sample_id"], rows, strict=True)), said, "a network")


def test_the_curve_starts_where_the_newest_snapshot_is(past, seen):
    curve = curve_after(past, seen, 0)
    assert curve.labels == LABELLED
    assert [(point.labels, point.model) for point in curve.points][:4] == [
        (60 * number, True) for number in (1, 2, 3, 4)
    ]
    assert curve.forecast(1000).gain > 0


def test_a_round_whose_model_is_missing_is_no_point(past, seen):
    past[1] = Round(past[1].name, past[1].table, None)
    points = curve_after(past, seen, 0).points
    assert [point.labels for point in points if point.model] == [60, 180, 240]
    assert len(score_forecasts(past, seen, 0)) == 2


def test_a_forecast_is_scored_with_what_was_known_when_it_was_made(past, seen):
    scored = score_forecasts(past, seen, 0)
    assert [(row.labels, row.ahead) for row in scored] == [(60, 120), (120, 180), (180, 240)]
    assert scored[:2] == score_forecasts(past[:3], seen, 0)
    for row in scored:
        assert row.low <= row.forecast <= row.high
        assert row.error == row.came - row.forecast


def made_report(curve, folder, past, seen, price=0.5):
    advice, reason = advise(curve, BudgetPolicy(), price=price)
    return BudgetReport(
        snapshot=past[-1].name, labels=curve.labels, audit_rows=AUDIT, models=4,
        features=seen.source, price=price, advice=advice, reason=reason,
        accuracy=curve.forecast(curve.labels),
        forecasts=[priced_forecast(curve, more, price) for more in (100, 500, 1000)],
        points=list(curve.points), past=score_forecasts(past, seen, 0), past_error=0.02,
        past_error_of_no_change=0.05, choosing=None,
        batches=[_accuracies("round-0001"), _accuracies("round-0002", "no LURE: so it is")],
        picture=str(folder / "b.png"),
    )  # fmt: skip


def test_a_report_fits_a_narrow_screen_and_its_picture_is_drawn(past, seen, tmp_path):
    curve = curve_after(past, seen, 0)
    report = made_report(curve, tmp_path, past, seen)
    draw_budget(curve, report)
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    screen = io.StringIO()
    show_budget(report, Console(file=screen, width=80))
    shown = screen.getvalue()
    assert "50.00" in shown and "250.00" in shown and "500.00" in shown and "…" not in shown
    assert "\nround-0002: no LURE: so it is\n" in shown
    assert shown.rstrip().endswith(f"{report.advice}: {report.reason}")
    page = budget_page(report)
    assert page.startswith(f"# {report.advice}\n") and "](data:image/png;base64,iVBOR" in page
    assert "| 1,000 |" in page and "500.00 |" in page and "round-0002: no LURE: so it is" in page
    assert json.loads(json.dumps(asdict(report)))["forecasts"][0]["cost"] == 50


def _accuracies(name: str, *notes: str) -> BatchAccuracy:
    alone = Interval(0.9, 0.8, 0.95, 40)
    return BatchAccuracy(name, "hone:1", naive=alone, lure=None, audit=alone, notes=list(notes))


def test_each_batch_tells_of_the_model_that_chose_it_by_what_was_drawn_by_chance(tmp_path):
    names = [f"s{number:03d}" for number in range(40)]
    engine = make_engine(tmp_path, names)
    asked = [
        _assignment(number, place, name)
        for number, some in ((1, names[:20]), (2, names[20:]))
        for place, name in enumerate(some)
    ]
    put_in(engine, [_round(1), _round(2)], asked, names)
    assert batch_accuracies(engine) == []  # guesses of no model of ours tell of none
    put_on_record(engine, "hone:1")
    first, second = batch_accuracies(engine)
    assert (first.round, first.model) == ("round-0001", "hone:1")
    assert first.naive.rows == 19  # the gold is no part of the batch
    assert first.audit and first.audit.value == 1.0
    assert first.naive.value == pytest.approx(8 / 19)
    assert first.lure and first.lure.value > first.naive.value
    assert second.lure is None and second.audit and second.audit.value == 1.0
    assert first.notes == second.notes == []


@pytest.mark.parametrize("answered", [5, 3])
def test_each_audit_sample_counts_once_and_an_audit_of_served_ones_alone_says_so(
    tmp_path, answered
):
    """Three served samples, all guessed wrong and all asked; two others, guessed right."""
    names = ["served0", "served1", "served2", "other0", "other1"]
    engine = make_engine(tmp_path, names)
    asked = [
        _assignment(2, place, name) | {"pre_annotation": "dog" if place < 3 else "cat"}
        for place, name in enumerate(names)
    ]
    put_in(engine, [_round(2) | {"config": {"served_share": 0.8}}], asked, names[:answered])
    put_on_record(engine, "hone:1")
    (found,) = batch_accuracies(engine)
    assert found.audit is not None
    assert found.audit.value == (0.4 if answered == 5 else 0)
    assert found.notes == ([] if answered == 5 else ["its audit is of served traffic only"])


@pytest.mark.parametrize("twins", [1, 4])
def test_lure_is_not_shown_where_near_duplicates_left_with_what_was_drawn(tmp_path, twins):
    names = [f"s{number:03d}" for number in range(20)]
    engine = make_engine(tmp_path, names)
    asked = [_assignment(1, place, name) for place, name in enumerate(names)]
    for place, row in enumerate(asked):
        row["draws_from"] = 500 - twins * place
    put_in(engine, [_round(1)], asked, [name for name in names if not name.endswith("7")])
    put_on_record(engine, "hone:1")
    (found,) = batch_accuracies(engine)
    assert found.naive.rows == 17  # who has not answered is no near-duplicate
    assert (found.lure is None) == bool(found.notes) == (twins > 1)
    assert not found.notes or found.notes[0].startswith("no LURE: near-duplicates")


def test_only_what_a_strategy_chose_is_held_against_chance(past, seen, tmp_path):
    now = past[-1]
    names = now.labelled["sample_id"].tolist()
    engine = make_engine(tmp_path, names)
    reasons = ["random"] * 30 + ["margin"] * 25 + ["quota", "fresh", "served", "named"] * 20
    asked = [
        _assignment(1, place, name) | {"reason": reason}
        for place, (name, reason) in enumerate(zip(names, reasons, strict=False))
    ]
    assert compare_choosing(now, seen, chosen_in(engine), 0) is None  # imported, all of them
    put_in(engine, [_round(1)], asked, names)
    comparison = compare_choosing(now, seen, chosen_in(engine), 0)
    assert comparison is not None and comparison.labels == 25


def chosen_in(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return reasons_of_chosen(connection, STRATEGIES)


def put_in(
    engine: Engine, made: list[dict[str, object]], asked: list[dict[str, object]], told: list[str]
) -> None:
    """Rounds, who was asked about in them, and the samples that were labelled: each a cat."""
    known = {"trust": 1.0, "annotators": [], "method": "x"}
    with writing(engine) as connection:
        connection.execute(insert(rounds), made)
        connection.execute(insert(assignments), asked)
        connection.execute(
            insert(labels),
            [{"sample_id": name, "label": "cat", "settled_at": "2026"} | known for name in told],
        )


def put_on_record(engine: Engine, version: str) -> None:
    """A model, as far as a foreign key looks."""
    known = dict.fromkeys(("weights_sha256", "snapshot", "code_commit", "config", "metrics"), "")
    with writing(engine) as connection:
        connection.execute(
            insert(models).values(version=version, seed=0, created_at="2026", **known)
        )


def _round(number: int) -> dict[str, object]:
    return {"round_id": f"round-{number:04d}", "number": number, "strategy": "margin", "seed": 0,
            "config": {}, "why": "", "chosen_at": "2026"}  # fmt: skip


def _assignment(number: int, place: int, name: str) -> dict[str, object]:
    """Five audit samples, all guessed right, then a random one in five; the first round says how
    each was drawn."""
    reason = "audit" if place < 5 else "random" if place % 5 == 0 else "margin"
    left = 500 - place
    odds = {"audit": 1 / left, "random": 0.2 / left, "margin": 0.8}[reason]
    return {
        "round_id": f"round-{number:04d}", "sample_id": name, "position": place,
        "reason": "gold" if place == 19 else reason, "pre_annotation_model": "hone:1",
        "pre_annotation": "cat" if place < 5 or place % 4 == 0 else "dog",
        "inclusion_probability": 0.01 if reason == "audit" else None,
        "draw_probability": odds if number == 1 else None,
        "draws_from": left if number == 1 else None,
    }  # fmt: skip


def test_a_workspace_without_a_snapshot_says_what_to_do(tmp_path: Path, monkeypatch):
    made = init_workspace(tmp_path / "ws", ["cat", "dog"])
    monkeypatch.setenv("HONE_WORKSPACE", str(made.root))
    assert open_context().workspace.root == made.root
    with pytest.raises(ValueError, match="hone collect"):
        budget_report(BudgetPolicy())


def test_the_curve_that_was_computed_last_is_on_record(past, seen, tmp_path):
    curve = curve_after(past, seen, 0)
    report = made_report(curve, tmp_path, past, seen)
    save_budget(curve, report)
    record = load_budget(tmp_path)
    assert record is not None
    assert (record.snapshot, record.labels, record.points) == (
        past[-1].name,
        LABELLED,
        report.points,
    )
    assert [row[0] for row in record.ahead] == [row.more for row in report.forecasts]
    at, value, low, high = record.curve[-1]
    forecast = 1 - curve.errors(np.array([at]))[0, 0]
    assert value == pytest.approx(forecast)
    assert low < value < high


@pytest.mark.parametrize(
    "change",
    [
        lambda written: b"{" + written,
        lambda written: b"[]",
        lambda written: b"[" * 100_000,
        lambda written: written.replace(b'"labels"', b'"lables"'),
        lambda written: written + b" " * 2**20,
        lambda written: re.sub(rb'"ahead": \[\s*\[', b'"ahead": [[NaN, ', written),
        lambda written: re.sub(rb'"curve": \[\s*\[\s*[0-9.]+', b'"curve": [[NaN', written),
    ],
)
def test_a_damaged_record_of_the_curve_is_none(past, seen, tmp_path, change):
    assert load_budget(tmp_path) is None
    curve = curve_after(past, seen, 0)
    save_budget(curve, made_report(curve, tmp_path, past, seen))
    path = tmp_path / "budget.json"
    written = path.read_bytes()
    path.write_bytes(change(written))
    assert path.read_bytes() != written
    assert load_budget(tmp_path) is None
