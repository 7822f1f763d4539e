"""DVC's indexes of a workspace lie in it, closed to others, for us and for a person's `dvc`."""

import stat
from pathlib import Path

import pytest
from dvc.repo import Repo

from core.dvc_config import SITE_CACHE, dvc_config, use_private_site_cache
from core.dvc_objects import ObjectStore
from core.workspace import Workspace, init_workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with something to track; DVC's default place is a folder that can be looked at.

    The default itself is a constant, /var/tmp/dvc.
    """
    monkeypatch.delenv("DVC_SITE_CACHE_DIR")
    made = init_workspace(tmp_path / "ws, with a comma", ["a", "b"])
    (made.shards / "0.tar").write_bytes(b"one")
    made.labels_table.write_bytes(b"table")
    return made


def site_cache(root: Path) -> Path:
    """Where a person's `dvc` in the workspace keeps its indexes."""
    with Repo(str(root)) as repo:
        return Path(repo.site_cache_dir)


def test_what_dvc_keeps_is_in_the_workspace_and_only_its_owner_may_enter(
    workspace: Workspace,
) -> None:
    shared = Path("/var/tmp/dvc/repo")
    before = set(shared.glob("*"))
    with ObjectStore(workspace.root) as store:
        store.track()
        store.publish(store.objects_here(), verified=[])
    private = workspace.root / SITE_CACHE
    assert site_cache(workspace.root).is_relative_to(private / "repo")
    assert [path for path in private.rglob("*") if path.is_file()], "that is where it keeps them"
    for folder in (private, private / "repo"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(shared.glob("*")) == before


def test_a_workspace_of_an_earlier_version_gets_one_at_its_next_use(workspace: Workspace) -> None:
    (workspace.root / ".dvc" / "config.local").unlink()
    assert not site_cache(workspace.root).is_relative_to(workspace.root)
    with ObjectStore(workspace.root) as store:
        store.track()
    assert site_cache(workspace.root).is_relative_to(workspace.root)


def test_a_workspace_that_moved_takes_its_cache_along(workspace: Workspace) -> None:
    moved = workspace.root.rename(workspace.root.parent / "moved")
    use_private_site_cache(moved)
    assert site_cache(moved).is_relative_to(moved / SITE_CACHE)


def test_what_a_person_wrote_there_stays(workspace: Workspace, tmp_path: Path) -> None:
    local = workspace.root / ".dvc" / "config.local"
    local.write_text(
        "['remote \"storage\"']\n    verify = true\n[core]\n    hardlink_lock = true\n"
    )
    use_private_site_cache(workspace.root)
    with Repo(str(workspace.root)) as repo:
        assert repo.config["remote"]["storage"]["verify"]
        assert repo.config["core"]["hardlink_lock"]
        assert Path(repo.site_cache_dir).is_relative_to(workspace.root)
    local.write_text(f"[core]\n    site_cache_dir = {tmp_path / 'fast-disk'}\n")
    use_private_site_cache(workspace.root)
    assert site_cache(workspace.root).is_relative_to(tmp_path / "fast-disk")


@pytest.mark.parametrize(
    "text",
    [
        "['remote \"storage\"']\n    verify = true",  # without an end of its last line
        "[ core ]  # mine\r\n    hardlink_lock = true\r\n['remote \"storage\"']\n    verify = true",
    ],
    ids=["last-line", "section"],
)
def test_a_file_as_people_write_it_stays_readable(workspace: Workspace, text: str) -> None:
    (workspace.root / ".dvc" / "config.local").write_bytes(text.encode())
    use_private_site_cache(workspace.root)
    with Repo(str(workspace.root)) as repo:
        assert repo.config["remote"]["storage"]["verify"] is True
        assert repo.config["core"].get("hardlink_lock", False) is ("hardlink" in text)
        assert Path(repo.site_cache_dir).is_relative_to(workspace.root)


def test_folders_that_others_may_enter_are_closed(workspace: Workspace) -> None:
    for folder in (workspace.root / SITE_CACHE, workspace.root / SITE_CACHE / "repo"):
        folder.chmod(0o777)
    use_private_site_cache(workspace.root)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (workspace.root / SITE_CACHE).iterdir()]
    assert modes == [0o700]
    assert stat.S_IMODE((workspace.root / SITE_CACHE).stat().st_mode) == 0o700


def test_an_address_with_a_key_is_refused_without_naming_it() -> None:
    with pytest.raises(ValueError, match="holds a user or a key") as refused:
        dvc_config("s3://me:secret-key@bucket/folder")
    assert "secret-key" not in str(refused.value)
