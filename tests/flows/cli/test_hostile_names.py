"""Names that strangers chose (files, annotators) reach the terminal as text, never as commands."""

import os
import sys
from pathlib import Path

import pytest

from core.workspace import init_workspace
from flows.cli import entry

EVIL = "evil\x1b[2J\x1b]0;title\x07.png"


def play(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hone", *words])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    return int(ended.value.code or 0)


def test_no_command_repeats_what_a_terminal_obeys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", os.environ)
    monkeypatch.setenv("HONE_WORKSPACE", str(init_workspace(tmp_path / "ws", ["cat", "dog"]).root))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / EVIL).write_text("no image")
    table = tmp_path / "labels.csv"
    table.write_text(f"image,label,annotator\nimages/{EVIL},cat,{EVIL}\nmissing{EVIL},cat,ann\n")
    codes = [
        play(monkeypatch, "ingest", str(tmp_path / "images")),
        play(monkeypatch, "import", str(table)),
        play(monkeypatch, "refused"),
        play(monkeypatch, "annotators"),
        play(monkeypatch, "trace", EVIL),
        play(monkeypatch, "ingest", str(tmp_path / EVIL)),
    ]
    assert codes == [0, 0, 0, 0, 1, 1]
    output = capfd.readouterr()
    text = output.out + output.err
    assert "\x1b" not in text and "\x07" not in text
    assert "evil\\x1b[2J" in output.out and "evil\\x1b[2J" in output.err
