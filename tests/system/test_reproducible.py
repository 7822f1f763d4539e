"""The same images and answers give the same bytes, whatever clock, folder, database, locale."""

from pathlib import Path
from typing import Any

import pytest

from core.workspace import Workspace
from tests.system.world import as_json, check_status, run_script

pytestmark = pytest.mark.system


def played(home: Path, year: int, **environment: str) -> dict[str, Any]:
    home.mkdir()
    nobody = Workspace(home / "workspace", "none", "", (), image_size=8)
    done = run_script(nobody, "tests.system.one_clock", str(home), str(year), **environment)
    check_status(done)
    state: dict[str, Any] = as_json(done)
    return state


def test_two_clocks_folders_databases_and_locales_give_the_same_bytes(
    tmp_path: Path, postgres: str
) -> None:
    one = played(tmp_path / "one", 2001, PYTHONHASHSEED="1", TZ="Pacific/Auckland", LC_ALL="C")
    other = played(
        tmp_path / "another folder", 2077, PYTHONHASHSEED="2", TZ="America/New_York",
        LC_ALL="C.UTF-8", HONE_DATABASE_URL=postgres,
    )  # fmt: skip
    assert list(one["snapshots in git"]) == ["snapshot-0001"]
    assert one["snapshots"] and one["models on disk"]
    for what, rows in one.items():
        assert rows == other[what], what
