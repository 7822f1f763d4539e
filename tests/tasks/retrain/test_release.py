"""What is promoted waits where it cannot be tried; a release without its package is an alert."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.registry import bento
from models.registry.challengers import set_front
from models.watching.alerts import Kind, newest_alerts
from tasks.context import Context, open_context
from tasks.direct_run import direct_runs
from tasks.retrain.release import package_release, release_winner
from tests.models.registry.named_models import A, B, add_models, judge, number, promote
from tests.models.saved_models import make_workspace


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    workspace, engine = make_workspace(tmp_path / "work")
    engine.dispose()
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    opened = open_context()
    yield opened
    opened.engine.dispose()


def fail(*_: object) -> str:
    raise ValueError("no room on the disk")


def test_a_release_that_cannot_be_packaged_is_an_alert_that_the_next_one_closes(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with direct_runs(), monkeypatch.context() as broken:
        broken.setattr(bento, "package", fail)
        for _ in range(2):
            with pytest.raises(ValueError, match="no room"):
                package_release("hone:0002-b")
    with ctx.engine.connect() as connection:
        (alert,) = newest_alerts(connection, 9)
    assert (alert.kind, alert.closed_at) == (Kind.RELEASE, None)
    assert alert.title == "hone:0002-b is released and could not be packaged"
    assert "no room on the disk" in alert.body
    monkeypatch.setattr(bento, "package", lambda *_: "hone:0002-b")
    with direct_runs():
        package_release("hone:0002-b")
    with ctx.engine.connect() as connection:
        recovery, closed = newest_alerts(connection, 9)
    assert (recovery.kind, recovery.title) == (Kind.RECOVERY, "hone:0002-b is packaged")
    assert closed.closed_at is not None


def test_a_promoted_front_model_waits_for_a_person_before_its_trial(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    with (ctx.workspace.root / "hone.toml").open("a") as file:
        file.write('[release]\npath = "shadow"\n')
    add_models(ctx.engine, A, B)
    promote(ctx.engine, A)
    words: dict[str, Any] = {"who": "Ada", "why": "cheaper"}
    set_front(ctx.engine, front=B, threshold=0.9, expected=1, **words)
    verdict_id = judge(ctx.engine, B, A)
    assert release_winner.fn(verdict_id) is None
    waits = f"{B} is promoted and waits for a person's word: {B} is the front model of the cascade"
    assert waits in capsys.readouterr().out
    assert number(ctx.engine) == 2
    set_front(ctx.engine, front=None, threshold=None, expected=2, **words)
    assert release_winner.fn(verdict_id) is None
    assert f"{B} is in shadow beside {A}" in capsys.readouterr().out
    assert number(ctx.engine) == 4
