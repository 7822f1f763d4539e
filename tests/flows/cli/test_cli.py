import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from PIL import Image

from flows.cli import app

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def hone(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("HONE_WORKSPACE", "PREFECT_API_URL")
    }
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
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_pages_name_every_command() -> None:
    root = Path(__file__).parents[3]
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    missing = [command for command in COMMANDS if f"hone {command}" not in text]
    assert not missing, f"README.md and docs/ say nothing of {missing}"


def test_a_flow_prints_its_own_lines_and_nothing_else(tmp_path: Path) -> None:
    made = hone("init", "cats", "--classes", "cat,dog", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "images" / "red.png")
    done = hone("--workspace", "cats", "ingest", "images", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"{tmp_path / 'images'}: 1 added, 0 known, refused: none",
    ]
