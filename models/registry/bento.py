"""The bento of a model version: code and model in one package that `bentoml serve` runs."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.access import close_to_others
from core.child_environment import environment_without_secrets
from core.files import sync_folder, write_atomically
from core.workspace import Workspace
from models.registry.model_store import NAME, entry

CODE = Path(__file__).parents[2]  # where bentofile.yaml is
STAGING = ".build-"
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}


def package(workspace: Workspace, version: str) -> str:
    """Build the bento of `version` in the workspace's BentoML home; return its tag.

    Idempotent: the tag is that of the model, and an existing bento is not built again. A kill
    leaves no partial bento: it is built in a temporary home and renamed. `bentoml serve TAG` serves
    it from any folder.
    """
    if not (CODE / "bentofile.yaml").is_file():
        raise ValueError(f"{CODE} has no bentofile.yaml; run Hone from its repository to package")
    if not entry(workspace.bento_home, version).is_dir():
        raise ValueError(f"there is no model {version} in {workspace.bento_home}")
    number = version.partition(":")[2]
    bento = workspace.bento_home / "bentos" / NAME / number
    with _build_lock(workspace.bento_home):
        if not bento.is_dir():
            _build(workspace, version, number, bento)
        write_atomically(bento.parent / "latest", number.encode())
    return version


@contextmanager
def _build_lock(home: Path) -> Iterator[None]:
    """One build at a time; the system releases the lock of a process that dies."""
    with (home / ".packaging.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in home.glob(f"{STAGING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _build(workspace: Workspace, version: str, number: str, bento: Path) -> None:
    """Run `bentoml build` in a temporary home that shares the models, and move the result."""
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=workspace.bento_home) as staging:
        (Path(staging) / "models").symlink_to(workspace.bento_home / "models")
        arguments = ["build", "--version", number, "--arg", f"model={version}"]
        done = subprocess.run(
            [sys.executable, "-m", "bentoml", *arguments],
            cwd=CODE,  # it refuses a bentofile elsewhere
            env=_environment(workspace, staging),
            capture_output=True,
            text=True,
            check=False,
        )
        built = Path(staging) / "bentos" / NAME / number
        if done.returncode or not built.is_dir():
            output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            command = " ".join(["bentoml", *arguments])
            raise RuntimeError(f"`{command}` failed ({done.returncode}):\n{output}")
        close_to_others(built)  # BentoML copies the modes of the repository's files
        _sync(built)
        bento.parent.mkdir(parents=True, exist_ok=True)
        built.rename(bento)
        sync_folder(bento.parent)


def _environment(workspace: Workspace, home: str) -> dict[str, str]:
    beside = str(Path(sys.executable).parent)  # `bentoml build` looks for uv on the path
    return {
        **environment_without_secrets(),
        **QUIET,
        "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HONE_WORKSPACE": str(workspace.root),
        "BENTOML_HOME": home,
    }


def _sync(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
