import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import app

COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]


def hone(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "HONE_WORKSPACE"}
    return subprocess.run(
        [sys.executable, "-m", "flows", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
        timeout=120,
    )


def test_a_workspace_is_made_and_its_status_is_read(tmp_path: Path) -> None:
    made = hone("init", str(tmp_path / "cats"), "--classes", "cat,dog", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    status = hone("--workspace", str(tmp_path / "cats"), "status", "--json", folder=tmp_path)
    assert '"samples": 0' in status.stdout
    assert hone("fsck", folder=tmp_path / "cats").stdout.strip() == "every promise holds"


def test_a_folder_that_is_no_workspace_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    done = hone("status", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("hone: ")
    assert "hone init" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does(command: str, tmp_path: Path) -> None:
    done = hone(command, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_the_readme_names_every_command() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    missing = [command for command in COMMANDS if f"hone {command}" not in readme]
    assert not missing, f"README.md says nothing of {missing}"
