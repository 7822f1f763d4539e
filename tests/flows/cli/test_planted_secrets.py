"""Secrets that are planted in the settings appear in nothing that a command prints or writes.

The commands run in this process, well or not; tests/system/test_secrets.py has the servers.
"""

import base64
import contextlib
import io
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from pydantic import SecretStr

from core import database
from core.child_environment import SECRETS, environment_without_secrets
from core.git import git
from core.workspace import init_workspace
from flows.cli import entry
from settings import Settings
from tasks import direct_run
from tests.flows.cli.test_imports import COMMANDS, RUN_NONE
from tests.tasks.operate.sound_workspace import make_sound_workspace

OURS = {
    str(field.alias)
    for field in Settings.model_fields.values()
    if SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))
}
PASSWORD, TOKEN = "canary-database-7f3a", "canary-alerts-7f3a"
CANARIES = {name: f"canary-{name.lower()}-91c4" for name in sorted(SECRETS | OURS)} | {
    "HONE_DATABASE_URL": f"postgresql://hone:{PASSWORD}@127.0.0.1:9/hone",
    "HONE_ALERTS": f"json://hone:{TOKEN}@127.0.0.1:9/{TOKEN} slack://{TOKEN}/x {TOKEN}",
}
WORDS = {
    **RUN_NONE,
    "ingest": ["images"],
    "label": ["--size", "2"],
    "collect": [],
    "review": [],
    "retrain": ["--epochs", "1"],
    "distill": ["--epochs", "1"],
    "watch": [],
    "alerts": ["test"],
}
# Addresses of databases as somebody types them: none of the parts of the password may be repeated.
MISTYPED = [
    f"postgresql://hone:{PASSWORD}@at@127.0.0.1:9/hone",
    f"postgresql://hone:with/{PASSWORD}@127.0.0.1:port/hone",
    f"postgres://hone:{PASSWORD}@127.0.0.1:9/hone",
    f"mysql://hone:{PASSWORD}@127.0.0.1/hone",
    f"postgresql:hone:{PASSWORD}",
    f"hone:{PASSWORD}",
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which everything happened, and an empty one, to be copied."""
    folder = tmp_path_factory.mktemp("planted")
    make_sound_workspace(folder / "work")
    init_workspace(folder / "empty", ["cat", "dog"])
    (folder / "images").mkdir()
    Image.new("RGB", (40, 30), "red").save(folder / "images" / "red.png")
    (folder / "labels.csv").write_text("image,label\nimages/red.png,cat\n")
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the template, all secrets planted, and everything else of nobody's machine."""
    place = shutil.copytree(template, tmp_path / "place", symlinks=True)
    monkeypatch.setattr(os, "environ", os.environ)
    for name, canary in CANARIES.items():
        monkeypatch.setenv(name, canary)
    monkeypatch.setenv("HONE_WORKSPACE", str(place / "work"))
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HONE_BACKEND_URL", "http://127.0.0.1:9/label-studio")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    monkeypatch.setattr(direct_run, "_delays", lambda task: [0.0] * (task.retries or 0))
    monkeypatch.chdir(place)
    yield place


def play(command: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """All that a command prints and logs at DEBUG, and the traceback of its error."""
    monkeypatch.setattr(sys, "argv", ["hone", command, *words])
    monkeypatch.setenv("HONE_TRACEBACK", "1")
    text = io.StringIO()
    watcher, root = logging.StreamHandler(text), logging.getLogger()
    level = root.level
    root.addHandler(watcher)
    root.setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            entry.main()
    except SystemExit:
        text.write("ended")
    except Exception as error:
        text.write("".join(traceback.format_exception(error)))
        text.write(f"hone: {entry.error_text(error)}")
    finally:
        root.removeHandler(watcher)
        root.setLevel(level)
    assert text.getvalue()
    return text.getvalue()


def leaks(text: str | bytes) -> list[str]:
    """The settings whose value, plain or as Basic credentials, is in a text."""
    content = text.encode() if isinstance(text, str) else text
    values = CANARIES | {"HONE_DATABASE_URL": PASSWORD, "HONE_ALERTS": TOKEN}
    shapes = {
        name: (value.encode(), base64.b64encode(f"hone:{value}".encode()))
        for name, value in values.items()
    }
    return sorted(name for name, forms in shapes.items() if any(one in content for one in forms))


def leaking_files(folder: Path) -> list[tuple[str, list[str]]]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [(str(path), names) for path in files if (names := leaks(path.read_bytes()))]


def test_the_canaries_are_seen_where_they_are() -> None:
    for name, canary in CANARIES.items():
        assert leaks(f"x{canary}y") == [name]
    assert leaks("Basic " + base64.b64encode(f"hone:{PASSWORD}".encode()).decode())


def test_every_command_is_played() -> None:
    assert WORDS.keys() | {"demo"} == COMMANDS  # the demo has secrets of its own making only


@pytest.mark.parametrize("command", sorted(WORDS))
def test_nothing_that_a_command_prints_or_writes_holds_a_secret(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First with a database that is away, then in the workspace, with all servers away."""
    away = play(command, WORDS[command], monkeypatch)
    assert leaks(away) == []
    monkeypatch.delenv("HONE_DATABASE_URL")
    if command == "budget":
        monkeypatch.setenv("HONE_WORKSPACE", str(folder / "empty"))
    assert leaks(play(command, WORDS[command], monkeypatch)) == []
    assert leaking_files(folder) == []


@pytest.mark.parametrize("address", MISTYPED)
def test_a_mistyped_address_of_a_database_is_not_repeated(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_DATABASE_URL", address)
    text = play("status", [], monkeypatch)
    assert "hone: HONE_DATABASE_URL is no address of a database" in text
    assert PASSWORD not in text


@pytest.mark.parametrize(
    "name",
    ["LABEL_STUDIO_URL", "HONE_BACKEND_URL", "HONE_WEBHOOK_URL", "PREFECT_API_URL", "HONE_RAY"],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"http://hone:{PASSWORD}@127.0.0.1:9/x")
    text = play("status", [], monkeypatch)
    assert f"hone: {name} holds a user or a password" in text
    assert PASSWORD not in text


def test_a_child_that_needs_no_secret_gets_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OURS <= SECRETS
    assert leaks(repr(environment_without_secrets())) == []
    assert "PATH" in environment_without_secrets()
    git(folder / "work", "config", "alias.environment", "!env")
    assert leaks(git(folder / "work", "environment")) == []
