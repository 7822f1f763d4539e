"""Artifacts in Prefect show what strangers named, and run none of it."""

from dataclasses import replace
from typing import Any

import pytest

from models.watching.signals import Family, Shift, Signal
from tasks.report import artifacts

HOSTILE = "<img src=x onerror=alert(1)> [log in](https://evil.example) | ![](https://evil.example)"


def test_the_page_of_signals_is_escaped_and_cuts_no_meaning_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published: list[dict[str, Any]] = []
    monkeypatch.setattr(artifacts, "publish_page", lambda **given: published.append(given))
    quiet = Signal("ks", Family.INPUTS, Shift.NONE, 0.1, 0.05, 0.0, -0.5, 0.5, 2000, 9, "no change")
    loud = replace(quiet, name=HOSTILE, outcome=Shift.DRIFT, accumulated=9.0, meaning=HOSTILE)
    artifacts.publish_signals("hone:1", [quiet, loud], HOSTILE)
    [given] = published
    text = given["markdown"] + given["description"]
    assert "<img" not in text.replace("\\<img", "")
    assert "](" not in text.replace("\\](", "")
    lines = given["markdown"].splitlines()
    assert lines[0] == "# hone:1: drift by 1 of 2 signals"
    assert "| ks | inputs | no drift | 0.100 | 0.050 | -0.5 | 2,000 | 9 |" in lines
    assert lines[-1] == "* **ks**: no change"  # the strongest signal comes first


def test_a_check_without_signals_has_a_page() -> None:
    assert artifacts.signals_markdown("hone:1", []).strip() == "# hone:1: no signals"
