"""Each value in force, with the place it comes from and no secret."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from core.workspace import init_workspace
from tasks.context import open_context
from tasks.operate.effective_config import effective_config
from tasks.policy_changes import record_policy_changes


def test_each_value_names_its_place_and_a_secret_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = "[settling]\nanswers_needed = 2\n"
    root = init_workspace(tmp_path / "ws", ["a", "b"], policies=policies).root
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HONE_WORKSPACE", str(root))
    monkeypatch.setenv("HONE_THREADS", "2")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    Path(".env").write_text("WANDB_PROJECT=mine\nHONE_THREADS=3\nHONE_WEBHOOK_SECRET=s3cret\n")
    record_policy_changes(open_context())
    effective = effective_config(open_context())
    values = {(row.section, row.name): (row.value, row.source) for row in effective.values}
    assert values["settling", "answers_needed"] == (2, "hone.toml")
    assert values["settling", "threshold"] == (0.9, "default")
    assert values["workspace", "classes"] == (["a", "b"], "hone.toml")
    assert values["workspace", "price"] == (None, "default")
    assert values["settings", "HONE_THREADS"] == (2, "environment")
    assert values["settings", "WANDB_PROJECT"] == ("mine", ".env")
    assert values["settings", "HONE_WEBHOOK_SECRET"] == ("********", ".env")
    assert "s3cret" not in json.dumps(asdict(effective), default=str)
    changed = [change for change in effective.changes if change.effect]
    assert [change.section for change in changed] == ["settling"]
