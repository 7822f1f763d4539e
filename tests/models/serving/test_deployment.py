"""What the service asks for before it answers: a workspace, and a token where others reach it."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from core.workspace import Workspace
from models.serving import deployment, service
from tasks.demo.servers import free_port
from tests.models.saved_models import make_workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace of the test's own; it needs no model."""
    workspace, engine = make_workspace(tmp_path / "workspace")
    engine.dispose()
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    monkeypatch.chdir(tmp_path)
    return workspace


def test_without_workspace_or_bento_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HONE_WORKSPACE", raising=False)
    with pytest.raises(ValueError, match="HONE_WORKSPACE is not set"):
        cast(Any, service.Hone).inner.check_before_serving()


@pytest.mark.parametrize(
    ("words", "configured", "token", "refused"),
    [
        (["--host", "0.0.0.0"], None, None, "HONE_SERVICE_TOKEN is not set"),
        ([], "0.0.0.0", None, "HONE_SERVICE_TOKEN is not set"),
        (["--host", "127.0.0.1"], "0.0.0.0", None, None),
        (["--host", "0.0.0.0"], None, "short", "HONE_SERVICE_TOKEN has 5 characters"),
        (["--host", "::"], None, "long-enough-for-others", None),
        ([], None, None, None),
    ],
)
def test_the_service_opens_to_other_machines_with_a_token_only(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    configured: str | None,
    token: str | None,
    refused: str | None,
) -> None:
    """The command of BentoML has the option; its configuration has the address without it."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    if token:
        os.environ["HONE_SERVICE_TOKEN"] = token
    if configured:
        monkeypatch.setattr(deployment, "configured_host", lambda: configured)
    cast(Any, service.Hone).inject_config()  # as the command does

    @click.command()
    @click.option("--host")
    @click.option("--port", default=free_port())
    def serve(host: str | None, port: int) -> None:
        cast(Any, service.Hone).inner.check_before_serving()

    done = CliRunner().invoke(serve, words)
    assert (str(done.exception) if refused else "")[: len(refused or "")] == (refused or "")
    assert (done.exception is None) is (refused is None)


def test_settings_of_the_folder_where_it_was_started_reach_the_workers(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They run in the folder of the code, whose `.env` is another one."""
    Path(".env").write_text(
        "HONE_NEEDS_REVIEW_BELOW=0.5\nHONE_REQUEST_PIXELS=1000\nHONE_SERVICE_TOKEN=secret\n"
        f"HONE_DATABASE_URL=sqlite:///{workspace.root}/other.sqlite\nHONE_THREADS=2\n"
    )
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(deployment, "_given", {"port": free_port()}.get)
    cast(Any, service.Hone).inner.check_before_serving()
    Path(".env").unlink()
    settings = deployment.Settings()
    assert (settings.needs_review_below, settings.request_pixels, settings.threads) == (
        0.5,
        1000,
        2,
    )
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value().endswith("other.sqlite")
    assert os.environ["HONE_SERVICE_TOKEN"] == "secret"


def test_each_setting_that_the_service_reads_reaches_the_workers() -> None:
    """Or else it has a reason: the command reads it itself, or makes its path absolute."""
    read = {
        node.attr
        for path in Path(deployment.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("settings", "Settings()", "self._settings")
    } & set(deployment.Settings.model_fields)
    by_itself = {"workers", "workspace", "traffic", "label_studio_document_root"}
    assert read - by_itself == set(deployment.OF_WORKERS)


def test_numbers_of_a_service_that_was_killed_go_when_the_next_one_starts(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each service has a folder of its own: BentoML's is emptied by any other service's start."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(deployment, "_given", {"port": free_port()}.get)
    folders = []
    for _ in range(2):
        cast(Any, service.Hone).inner.check_before_serving()
        folders.append(Path(os.environ["HONE_METRICS"]))
    assert all(folder.is_dir() for folder in folders) and folders[0] != folders[1]
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left = folders[0].with_name(f"hone-metrics-{ended.pid}-left")
    left.mkdir()
    cast(Any, service.Hone).inner.check_before_serving()
    assert not left.exists() and folders[0].is_dir()
