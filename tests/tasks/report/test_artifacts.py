"""Artifacts in Prefect show what strangers named, and run none of it."""

from typing import Any

import pytest

from models.watching.signals import Family, Shift, Signal
from tasks.report import artifacts

HOSTILE = "<img src=x onerror=alert(1)> [log in](https://evil.example) | ![](https://evil.example)"


def test_the_table_of_signals_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[dict[str, Any]] = []
    monkeypatch.setattr(artifacts, "publish_table", lambda **given: published.append(given))
    signal = Signal(
        f"share of {HOSTILE}", Family.INPUTS, Shift.NONE, 0.1, 0.05, 0.0, 0.0, 0.5, 2, 2, HOSTILE
    )
    artifacts.publish_signals("hone:1", [signal], HOSTILE)
    [given] = published
    text = str(given["table"]) + given["description"]
    assert "<img" not in text.replace("\\\\<img", "").replace("\\<img", "")
    assert given["table"][0]["value"] == "0.1000"
