"""One message to one channel, as the process that sends it does it."""

import io
import json
import signal
import sys
from pathlib import Path

import pytest

from models.watching.send_message import main, write_file


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_has_a_message_once_however_often_it_is_sent(tmp_path: Path) -> None:
    for _ in range(2):
        assert write_file(f"file://{tmp_path}/a%20b", "drift", "It is dark.", "m-1", b"png") is None
    assert files(tmp_path / "a b") == {"m-1.png": b"png", "m-1.txt": b"drift\n\nIt is dark.\n"}


@pytest.mark.parametrize("url", ["file://alerts", "file:alerts", "file://host/alerts"])
def test_a_folder_without_its_whole_path_is_refused(url: str) -> None:
    assert write_file(url, "", "", "m-1", None) == (
        "write file:///FOLDER with the whole path of a folder"
    )


def test_a_message_is_read_from_standard_input_and_its_end_is_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deadlines: list[int] = []
    monkeypatch.setattr(signal, "alarm", deadlines.append)
    asked: dict[str, object] = {
        "url": f"FILE://{tmp_path}/alerts",
        "title": "t",
        "body": "b",
        "message_id": "m-1",
    }
    asked |= {"seconds": 7.5, "picture": "cG5n"}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked)))
    main()
    assert capsys.readouterr().out == '{"error": null}\n'
    assert files(tmp_path / "alerts") == {"m-1.png": b"png", "m-1.txt": b"t\n\nb\n"}
    assert deadlines == [8]
