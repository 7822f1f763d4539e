"""SIGKILL between two requests of a push or a pull, at random points: run again, the same end."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.workspace import Workspace
from tasks.demo.servers import LabelStudioServer
from tests.system.world import run_script

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]


def killed(way: str, home: Path, server: LabelStudioServer) -> dict[str, Any]:
    """How often it was killed, and how it ended, each time as if it had not been."""
    nobody = Workspace(home, "none", "", (), image_size=32)
    done = run_script(
        nobody,
        "tests.system.exchange_killed",
        way,
        str(home),
        LABEL_STUDIO_URL=server.url,
        LABEL_STUDIO_API_KEY=server.api_key,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_push_killed_between_two_requests_ends_as_an_uninterrupted_one(
    document_root, label_studio
):
    found = killed("push", document_root / "killed-push", label_studio)
    assert found["kills"] >= 12
    sent = found["end"]["tasks"]
    assert [shown["sample_id"] for shown, *_ in sent] == [f"{n:064x}" for n in range(12)]
    assert {shown["round"] for shown, *_ in sent[6:]} == {"round-0002"}
    assert [overlap for _, overlap, _ in sent] == [2 if n % 4 == 0 else 1 for n in range(12)]
    tabs = [title for title, _ in found["end"]["tabs"]]
    assert sorted(tabs) == ["Disagreements", "Everything", "round-0001", "round-0002"]


def test_a_pull_killed_between_two_requests_ends_as_an_uninterrupted_one(
    document_root, label_studio
):
    found = killed("pull", document_root / "killed-pull", label_studio)
    assert found["kills"] >= 12
    end = found["end"]
    in_force = [row[4] for row in end["answers"] if row[-1]]
    assert {"answer", "skip"} <= set(in_force)
    assert len(in_force) < len(end["answers"]), "edited and deleted ones are kept as history"
    assert end["refused"]
    names = sorted(name.partition(":")[0] for name, _ in end["watermarks"])
    assert names == ["classes", "label-studio"]
