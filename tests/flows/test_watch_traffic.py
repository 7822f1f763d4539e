"""A check that fails keeps no promoted version from its package, nor alerts and retention."""

import importlib
from collections.abc import Iterator

import pytest

from flows.watch_traffic import watch_traffic
from models.registry import bento
from models.registry.releases import release
from models.registry.versions import AUTOMATIC
from tasks.context import Context
from tasks.direct_run import direct_runs
from tests.models.registry.named_models import B
from tests.tasks.watch.test_trial import ctx, current, verdict  # noqa: F401 - a fixture


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a check that fails is followed by, in order."""
    done: list[str] = []
    module = importlib.import_module("flows.watch_traffic")

    def fail(*_: object) -> None:
        done.append("check")
        raise ValueError("the reference is damaged")

    monkeypatch.setattr(module, "check_window", fail)
    monkeypatch.setattr(module, "send_alerts", lambda: done.append("alerts"))
    monkeypatch.setattr(module, "apply_retention", lambda: done.append("retention"))
    with direct_runs():
        yield done


def test_a_version_whose_check_was_killed_is_packaged_by_the_next_one(
    ctx: Context,  # noqa: F811
    after: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verdict_id, number = verdict(ctx), current(ctx).number
    about = {"who": AUTOMATIC, "why": "its trial", "evidence": {"step": "canary"}}
    release(ctx.engine, version=B, verdict_id=verdict_id, expected=number, **about)  # type: ignore[arg-type]

    def package(workspace: object, version: str, *_: object) -> str:
        after.append(version)
        bento._place(ctx.workspace, version).mkdir(parents=True)
        return version

    monkeypatch.setattr(bento, "package", package)
    for _ in range(2):
        with pytest.raises(ValueError, match="the reference is damaged"):
            watch_traffic()
    assert after == [B, "check", "alerts", "retention", "check", "alerts", "retention"]


def test_a_version_that_cannot_be_packaged_is_checked_all_the_same(
    ctx: Context,  # noqa: F811
    after: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def package(*_: object) -> str:
        raise OSError("no room on the disk")

    monkeypatch.setattr(bento, "package", package)
    monkeypatch.setattr("tasks.retrain.release.package_release.retries", 0)
    monkeypatch.setattr(importlib.import_module("flows.watch_traffic"), "advance_trial", lambda: B)
    with pytest.raises(OSError, match="no room"):
        watch_traffic()
    assert after == ["check", "alerts", "retention"]
