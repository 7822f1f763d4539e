"""The bento of a model version: code and model in one package that `bentoml serve` runs."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from core.access import close_to_others
from core.child_environment import environment_without_secrets
from core.files import file_sha256, sync_path, write_atomically
from core.workspace import Workspace
from models.registry.model_store import NAME, entry

CODE = Path(__file__).parents[2]  # where bentofile.yaml is
STAGING = ".build-"
CONTENTS = "hone-contents.json"  # in a bento: the SHA-256 of each of its files
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}


def package(
    workspace: Workspace, version: str, packages: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Build the bento of `version` in the workspace's BentoML home; return its tag.

    `packages` are those of the runtime that serves it, with their versions.

    Idempotent: the tag is that of the model, and an existing bento is not built again. A kill
    leaves no partial bento: it is built in a temporary home and renamed. `bentoml serve TAG` serves
    it from any folder.
    """
    if not (CODE / "bentofile.yaml").is_file():
        raise ValueError(f"{CODE} has no bentofile.yaml; run Hone from its repository to package")
    if not entry(workspace.bento_home, version).is_dir():
        raise ValueError(f"there is no model {version} in {workspace.bento_home}")
    number = version.partition(":")[2]
    bento = _place(workspace, version)
    with _build_lock(workspace.bento_home):
        if not bento.is_dir():
            _build(workspace, version, number, bento, packages)
        write_atomically(bento.parent / "latest", number.encode())
    return version


def has_bento(workspace: Workspace, version: str) -> bool:
    """Whether the bento of a version is there."""
    return _place(workspace, version).is_dir()


def _place(workspace: Workspace, version: str) -> Path:
    return workspace.bento_home / "bentos" / NAME / version.partition(":")[2]


@contextmanager
def _build_lock(home: Path) -> Iterator[None]:
    """One build at a time; the system releases the lock of a process that dies."""
    with (home / ".packaging.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in home.glob(f"{STAGING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _build(
    workspace: Workspace, version: str, number: str, bento: Path, packages: Mapping[str, str]
) -> None:
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
        _add_packages(built / "env" / "python" / "requirements.txt", packages)
        close_to_others(built)  # BentoML copies the modes of the repository's files
        write_contents(built)
        _sync(built)
        bento.parent.mkdir(parents=True, exist_ok=True)
        built.rename(bento)
        sync_path(bento.parent)


def _add_packages(requirements: Path, packages: Mapping[str, str]) -> None:
    """Let the bento install these packages, too, with the hashes of requirements.lock."""
    if not packages:
        return
    lock = (CODE / "requirements.lock").read_text(encoding="utf-8")
    lines = []
    for name, number in packages.items():
        pin = f"{name}=={number}"
        locked = re.search(rf"^{re.escape(pin)}( \\\n    --hash=.*)+", lock, re.MULTILINE)
        lines.append(f"{locked[0] if locked else pin}\n")
    text = requirements.read_text(encoding="utf-8").rstrip("\n")
    requirements.write_text(f"{text}\n{''.join(lines)}", encoding="utf-8")


def write_contents(bento: Path) -> None:
    """Note in a bento that was just built what is in it."""
    write_atomically(bento / CONTENTS, json.dumps(_contents(bento), indent=1).encode())


def damage_of_bento(bento: Path) -> str | None:
    """What is other in a bento than when it was built; None: nothing, or an older Hone built it."""
    try:
        built = json.loads((bento / CONTENTS).read_bytes())
        there = _contents(bento)
    except FileNotFoundError as error:
        older = error.filename == str(bento / CONTENTS) and (bento / "bento.yaml").is_file()
        return None if older else f"{Path(str(error.filename)).name} is missing"
    except ValueError as error:
        return f"{CONTENTS} cannot be read ({error})"
    changed = [name for name in sorted(built) if there.get(name) != built[name]]
    changed += sorted(there.keys() - built.keys())
    return f"{changed[0]} is not as it was built" if changed else None


def damaged_bentos(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Each bento that is not as it was built, and what is wrong with it."""
    folder = workspace.bento_home / "bentos" / NAME
    newest = newest_bento(workspace)
    if newest and not (folder / newest.partition(":")[2]).is_dir():
        yield newest, f"{folder / newest.partition(':')[2]} is gone"
    for bento in sorted(path for path in folder.glob("*") if path.is_dir()):
        if problem := damage_of_bento(bento):
            yield f"{NAME}:{bento.name}", problem


def rebuild(workspace: Workspace, version: str) -> None:
    """Build the bento of a version in place of one that is damaged or gone."""
    bento = _place(workspace, version)
    if bento.is_dir():
        damaged = bento.with_name(f"{STAGING}damaged-{bento.name}")
        bento.rename(workspace.bento_home / damaged.name)  # the next build removes it
    package(workspace, version)


def newest_bento(workspace: Workspace) -> str | None:
    """The version whose bento was built last; None before the first."""
    latest = workspace.bento_home / "bentos" / NAME / "latest"
    if not latest.is_file():
        return None
    return f"{NAME}:{latest.read_text(encoding='utf-8', errors='replace').strip()}"


def _contents(bento: Path) -> dict[str, str]:
    """The SHA-256 of each file of a bento, but for what Python writes beside its code."""
    return {
        str(path.relative_to(bento)): file_sha256(path)
        for path in sorted(bento.rglob("*"))
        if path.is_file() and path.name != CONTENTS and path.parent.name != "__pycache__"
    }


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
