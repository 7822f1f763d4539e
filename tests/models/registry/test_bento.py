"""Bentos: built once for a version, whole or not at all. Building and serving one: tests/system."""

from pathlib import Path

import pytest

from core.workspace import Workspace
from models.registry import bento
from models.registry.bento import package
from tests.models.saved_models import make_workspace, save


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Workspace, str]:
    workspace, engine = make_workspace(tmp_path / "workspace")
    return workspace, save(workspace, engine)


def test_a_version_that_is_not_in_the_store_is_refused(saved: tuple[Workspace, str]) -> None:
    with pytest.raises(ValueError, match="no model hone:0009-z in"):
        package(saved[0], "hone:0009-z")


def test_what_is_packaged_is_not_built_again(saved: tuple[Workspace, str]) -> None:
    workspace, version = saved
    bentos = workspace.bento_home / "bentos" / "hone"
    (bentos / version.partition(":")[2]).mkdir(parents=True)
    assert package(workspace, version) == version
    assert (bentos / "latest").read_text() == version.partition(":")[2]


def test_a_build_that_fails_says_why_and_leaves_nothing(
    saved: tuple[Workspace, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, version = saved
    (tmp_path / "bentofile.yaml").write_text("service: nowhere:Nothing\n")
    monkeypatch.setattr(bento, "CODE", tmp_path)
    left = workspace.bento_home / ".build-of-a-killed-process"
    left.mkdir()
    with pytest.raises(RuntimeError, match=r"(?s)bentoml build .* failed .*nowhere"):
        package(workspace, version)
    assert not list(workspace.bento_home.glob(".build-*"))
    assert not (workspace.bento_home / "bentos" / "hone").exists()


def test_code_without_a_bentofile_cannot_be_packaged(
    saved: tuple[Workspace, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bento, "CODE", tmp_path)
    with pytest.raises(ValueError, match=r"has no bentofile\.yaml"):
        package(*saved)
