"""What the repository promises beside the code: its commands, settings, locks, deployments, CI."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.workspace import init_workspace
from tests.source_code import ROOT, functions

HEAVY = {"torch", "torchvision", "wandb", "bentoml", "alibi_detect", "label_studio_sdk", "dvc",
         "prefect", "pandas", "sklearn", "matplotlib", "transformers", "cv2"}  # fmt: skip
SLOW = {"torch", "wandb", "bentoml", "alibi_detect", "label_studio_sdk"}


def modules_loaded_by(*arguments: str, workspace: Path | None = None) -> set[str]:
    """The top-level packages that `hone` has imported when a command ends well."""
    script = f"""
import json, runpy, sys
sys.argv = ["hone", *{list(arguments)!r}]
try:
    runpy.run_module("flows", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print()
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""
    chosen = {} if workspace is None else {"HONE_WORKSPACE": str(workspace)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env=os.environ | chosen, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_answers_without_importing_what_takes_seconds() -> None:
    assert not HEAVY & modules_loaded_by("--help")


@pytest.mark.parametrize("command", ["status", "snapshots", "annotators", "fsck"])
def test_a_command_that_runs_no_flow_does_not_import_what_trains_or_serves(
    command: str, tmp_path: Path
) -> None:
    init_workspace(tmp_path / "work", ["cat", "dog"])
    assert not SLOW & modules_loaded_by(command, workspace=tmp_path / "work")


def test_every_setting_is_in_the_example_and_nothing_else():
    from settings import Settings

    listed = re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(field.alias) for field in Settings.model_fields.values())


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-studio.lock"])
def test_a_lock_has_hashes_and_names_no_registry(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if re.match(r"[a-z0-9]", line)]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)
    assert not [line for line in lines if "://" in line or line.startswith("--")]


def test_every_deployment_names_a_flow_that_exists():
    import yaml

    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        file, _, function = deployment["entrypoint"].partition(":")
        assert function in {node.name for node in functions(ROOT / file)}, deployment["name"]


def test_the_ci_script_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize(("forbidden", "code"), [("", 0), ("1", 1)])
def test_a_skipped_test_fails_where_skips_are_forbidden(tmp_path, forbidden, code):
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.skip\ndef test_a(): pass\n")
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"HONE_NO_SKIPS": forbidden}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
