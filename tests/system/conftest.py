"""Real servers and a real browser, started only when a test asks for them.

What is missing on a machine skips with the command that installs it; `.ci/run` installs everything
and fails when anything skipped.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tasks.demo import servers

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_OPTIONS = [
    "--no-sandbox",  # it shows pages of our own loopback servers only
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PREFECT_FOR_TESTS = {
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # 10 by default, then a busy machine answers 503
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",  # 30 by default
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10",  # 60 by default
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "10",  # scheduled ahead; 100 by default
}


@pytest.fixture(scope="session")
def studio_command() -> Path:
    """The `label-studio` program of its own environment."""
    beside = REPOSITORY / ".venv-studio" / "bin" / "label-studio"
    on_path = shutil.which("label-studio")
    named = os.environ.get("HONE_LABEL_STUDIO_COMMAND")
    for candidate in (named, beside, on_path):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    pytest.skip("Label Studio is not installed; `make studio` installs it")


def kept_folder(
    request: pytest.FixtureRequest, name: str, key: str, make: Callable[[Path], None]
) -> Path:
    """A folder that `make` fills once, kept from one test session to the next; copy it.

    Of several processes that want it one makes it, and the others wait.
    """
    kept = request.config.cache.mkdir(name)
    folder = kept / hashlib.sha256(key.encode()).hexdigest()[:12]
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = Path(tempfile.mkdtemp(dir=kept))
            make(fresh / "new")
            (fresh / "new").rename(folder)
            shutil.rmtree(fresh)
    return folder


@pytest.fixture(scope="session")
def studio_template(studio_command: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a stopped Label Studio with a migrated database and one user."""
    installed = sorted(
        path.name for path in studio_command.parents[1].rglob("label_studio-*.dist-info")
    )

    def start_once(folder: Path) -> None:  # migrating takes half a minute
        with servers.label_studio(studio_command, folder, document_root=folder.parent):
            pass

    programs = f"{studio_command.resolve()} {installed}"
    return kept_folder(request, "label-studio", programs, start_once)


@pytest.fixture(scope="session")
def prefect_template(request: pytest.FixtureRequest) -> Path:
    """The folder of a stopped Prefect server with a migrated database."""

    def start_once(folder: Path) -> None:
        with servers.prefect_server(folder):
            pass

    return kept_folder(request, "prefect-server", version("prefect"), start_once)


@pytest.fixture(scope="session")
def document_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder below which the Label Studio server may show files: workspaces go here."""
    return tmp_path_factory.mktemp("desks")


@pytest.fixture(scope="session")
def label_studio(
    studio_command: Path,
    studio_template: Path,
    document_root: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.LabelStudioServer]:
    """A running Label Studio server."""
    folder = tmp_path_factory.mktemp("label-studio") / "server"
    shutil.copytree(studio_template, folder)
    with servers.label_studio(studio_command, folder, document_root) as server:
        yield server


@pytest.fixture(scope="module")  # while it is open, its event loop stands in the way of others
def browser() -> Iterator["Browser"]:
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium; `apt-get install chromium fonts-liberation` installs it")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=BROWSER_OPTIONS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a running PostgreSQL."""
    if servers.postgres_programs() is None:
        pytest.skip("no PostgreSQL; `apt-get install postgresql` installs it")
    folder = Path(tempfile.mkdtemp(prefix="hone-postgres-"))
    folder.chmod(0o755)  # its own user must reach it
    with servers.postgres(folder / "server") as server:
        yield server.url
    shutil.rmtree(folder)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The address of a new, empty PostgreSQL database."""
    name = f"hone_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return postgres_server.rpartition("/")[0] + f"/{name}"


@pytest.fixture(scope="session")
def prefect_server(
    prefect_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[servers.Server]:
    """A running Prefect server; its `url` is what PREFECT_API_URL wants."""
    folder = tmp_path_factory.mktemp("prefect") / "server"
    shutil.copytree(prefect_template, folder)
    with servers.prefect_server(folder, PREFECT_FOR_TESTS) as server:
        yield server
