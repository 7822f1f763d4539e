"""Commands that run no flow import no large package: they answer within a second."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from PIL import Image

from core.workspace import init_workspace
from flows.cli import app
from tests.source_code import ROOT
from tests.tasks.operate.sound_workspace import make_sound_workspace

COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
RUN_FLOWS = {"ingest", "label", "collect", "review", "retrain", "distill", "watch", "demo"}
RUN_NONE = {
    "init": ["other", "--classes", "cat,dog"],
    "status": [],
    "refused": [],
    "config": [],
    "annotators": [],
    "quality": [],
    "snapshots": [],
    "trace": ["no-such-prediction"],
    "budget": [],
    "fsck": [],
    "metrics": [],
    "erase": ["no-such-image", "--why", "because"],
    "export": ["exported", "--no-images"],
    "import": ["labels.csv"],
    "release": ["no-such-version", "--who", "ann", "--why", "because"],
    "shadow": ["no-such-version", "--who", "ann", "--why", "because"],
    "canary": ["no-such-version", "--who", "ann", "--why", "because"],
    "rollback": ["--who", "ann", "--why", "because"],
    "webhook": [],
    "verdict": [],
    "report": [],
    "alerts": [],
    "feedback": ["feedback.csv"],
    "performance": [],
    "why": [],
    "incidents": [],
    "halt": ["--who", "ann", "--why", "because"],
    "resume": ["--who", "ann", "--why", "because"],
    "cascade": ["off", "--who", "ann", "--why", "because"],
}
FAILS = {
    "trace",
    "erase",
    "release",
    "shadow",
    "canary",
    "rollback",
    "webhook",
    "budget",
    "resume",
    "cascade",
}  # for want of what they ask for
OF_EMPTY = {
    "budget",  # or it computes features with torch
    "resume",  # of a service that is not halted
}
NEEDS = {
    "webhook": "prefect",  # raises its events
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace in which everything happened, and a label file."""
    made = tmp_path_factory.mktemp("imports")
    make_sound_workspace(made / "work")
    init_workspace(made / "empty", ["cat", "dog"])
    Image.new("RGB", (40, 30), "red").save(made / "red.png")
    (made / "labels.csv").write_text("image,label\nred.png,cat\n")
    (made / "feedback.csv").write_text(f"prediction_id,truth\n{'7' * 32},cat\n")
    return made


def test_every_command_is_in_one_of_the_lists() -> None:
    assert RUN_FLOWS | RUN_NONE.keys() == COMMANDS
    assert not RUN_FLOWS & RUN_NONE.keys()


@pytest.mark.parametrize("command", sorted(RUN_NONE))
def test_a_command_without_a_flow_imports_no_large_package(command: str, folder: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    workspace = "empty" if command in OF_EMPTY else "work"
    environment |= {"HONE_WORKSPACE": str(folder / workspace), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.cli.imported_by", command, *RUN_NONE[command]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    *_, code, imported = done.stderr.splitlines()
    assert code == ("exit 1" if command in FAILS else "exit 0"), done.stderr
    assert set(imported.split()[1:]) <= {NEEDS.get(command)}, done.stderr
