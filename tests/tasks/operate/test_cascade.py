# ruff: noqa: F811 - fixtures
"""A cascade is planned on the gate's rows that nobody learnt from, and set by a named person."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from labeling.audit.numbers import Part
from labeling.audit.rows import audit_rows
from labeling.ledger.samples import groups_of
from models.registry import versions
from models.registry.model_store import entry
from models.registry.releases import current_release
from tasks.context import Context
from tasks.direct_run import direct_runs
from tasks.operate import cascade
from tasks.report.cascade_view import show_plans
from tasks.retrain import gather
from tests.models.registry.named_models import challenge
from tests.tasks.retrain.test_judge import (  # noqa: F401 - fixtures
    ctx,
    cut,
    draw,
    put_in_service,
    save,
)


@pytest.fixture
def models(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A champion in service, and another model."""

    def served_ms(ctx: Context, small: Any, large: Any) -> dict[str, float]:
        return {small.version: 2.0, large.version: 20.0}

    monkeypatch.setattr(cascade, "served_ms", served_ms)
    draw(ctx)
    snapshot = cut()
    champion = save(ctx, snapshot, seed=1)
    put_in_service(ctx, champion)
    return champion, save(ctx, snapshot, seed=2)


def test_the_plan_is_by_the_gates_rows_that_neither_learnt_from(
    ctx: Context, models: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    champion, front = models
    looked_at: list[str] = []
    real = cascade.predict_with

    def predict_with(ctx: Context, version: str, rows: Any) -> Any:
        looked_at.extend(rows["sample_id"])
        return real(ctx, version, rows)

    monkeypatch.setattr(cascade, "predict_with", predict_with)
    with direct_runs():
        [plan] = cascade.plan_cascades([front], loss=0.05)
    with ctx.engine.connect() as connection:
        gate = set(audit_rows(connection, part=Part.GATE)["sample_id"])
        reported = set(audit_rows(connection, part=Part.REPORT)["sample_id"])
        groups = set(groups_of(connection, looked_at).values())
    assert set(looked_at) <= gate and not set(looked_at) & reported and reported
    assert not groups & gather.training_groups(ctx, champion)
    assert plan.rows == len(set(looked_at)) > 0
    assert (plan.front, plan.champion) == (front, champion)
    assert (plan.costs.front_ms, plan.costs.champion_ms) == (2.0, 20.0)
    assert plan.chosen is None  # some rows exclude no loss of .05
    screen = StringIO()
    show_plans([plan], [0.04, 0.2], Console(file=screen, width=200))
    shown = screen.getvalue()
    assert (
        "What an image costs" in shown
        and "no threshold" in shown
        and "0.000222" in shown
        and "0.001111" in shown
    )


def test_two_front_models_share_the_chance_of_an_error(
    ctx: Context, models: tuple[str, str]
) -> None:
    other = save(ctx, versions.find_model(ctx.engine, models[0]).snapshot, seed=3)
    with direct_runs():
        plans = cascade.plan_cascades([models[1], other], loss=0.05)
    assert [plan.alpha for plan in plans] == [0.025, 0.025]
    with pytest.raises(ValueError, match="3 front models are given"):
        cascade.plan_cascades(["a", "b", "c"], loss=0.05)


def test_a_cascade_is_one_row_of_the_release_and_so_is_its_end(
    ctx: Context, models: tuple[str, str]
) -> None:
    champion, front = models
    assert cascade.set_cascade(front, 0.9, who="ann", why="cheaper") == 2
    current = current_release(ctx.engine)
    assert current is not None
    assert (current.champion, current.front, current.front_threshold) == (champion, front, 0.9)
    assert (current.who, current.why, str(current.action)) == ("ann", "cheaper", "cascade")
    assert cascade.end_cascade(who="bob", why="one is enough") == 3
    current = current_release(ctx.engine)
    assert current is not None and current.front is None and current.front_threshold is None
    with pytest.raises(ValueError, match="answers alone already"):
        cascade.end_cascade(who="bob", why="again")


def test_a_model_that_cannot_stand_in_front_is_refused(
    ctx: Context, models: tuple[str, str]
) -> None:
    champion, _ = models
    snapshot = versions.find_model(ctx.engine, champion).snapshot
    other = save(ctx, snapshot, seed=4, classes=("cat", "dog", "eel"))
    with pytest.raises(ValueError, match=r"has classes .*eel.*must have the same"):
        cascade.set_cascade(other, 0.9, who="ann", why="a test")
    with pytest.raises(ValueError, match="is the champion itself"):
        cascade.plan_cascades([champion], loss=0.05)
    with pytest.raises(ValueError, match="there is no model 'hone:none'"):
        cascade.set_cascade("hone:none", 0.9, who="ann", why="a test")
    with pytest.raises(ValueError, match="`hone distill` trains a small one"):
        cascade.plan_cascades([], loss=0.05)  # both have one backbone


def test_a_challenger_cannot_be_put_in_front(ctx: Context, models: tuple[str, str]) -> None:
    challenge(ctx.engine, models[1])
    with pytest.raises(ValueError, match=f"{models[1]} is in shadow .*`hone shadow --off`"):
        cascade.set_cascade(models[1], 0.9, who="ann", why="a test")
    current = current_release(ctx.engine)
    assert current is not None and current.number == 2 and current.front is None


def test_a_damaged_front_model_is_refused_before_anything_changes(
    ctx: Context, models: tuple[str, str]
) -> None:
    _, front = models
    weights = entry(ctx.workspace.bento_home, front) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match=f"{front} is not whole.*nothing changed"):
        cascade.set_cascade(front, 0.9, who="ann", why="a test")
    current = current_release(ctx.engine)
    assert current is not None and current.number == 1 and current.front is None


def test_a_champion_of_version_0_1_0_whose_card_names_no_kind_can_have_a_front_model(
    ctx: Context, models: tuple[str, str]
) -> None:
    champion, front = models
    config = dict(versions.find_model(ctx.engine, champion).config)
    assert config.pop("kind") == "classification"
    with ctx.engine.begin() as connection:
        connection.execute(
            versions.models.update()
            .where(versions.models.c.version == champion)
            .values(config=config)
        )
    assert cascade.set_cascade(front, 0.9, who="ann", why="cheaper") == 2


def test_a_loss_that_cannot_be_is_refused_before_anything_is_measured(
    ctx: Context, models: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    monkeypatch.setattr(
        "tasks.retrain.runtime.choose_runtime", lambda _, version: measured.append(version)
    )
    with pytest.raises(ValueError, match="the loss of accuracy is 5"):
        cascade.plan_cascades([models[1]], loss=5)
    assert measured == []


def test_without_a_champion_nothing_is_planned(ctx: Context, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model is in service"):
        cascade.plan_cascades([], loss=0.05)
