"""Other users of the machine get nothing, whatever the umask."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.access import close_to_others, is_open_to_others, keep_others_out


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The umask of the user, for the time of a test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_what_is_made_afterwards_is_closed_to_others_and_to_the_group_as_before(
    umask: int, tmp_path: Path
) -> None:
    keep_others_out()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("folder", "file")]
    assert modes == [0o770 & ~umask, 0o660 & ~umask]


def test_no_other_thread_ever_makes_an_open_file(umask: int, tmp_path: Path) -> None:
    """Between reading and setting the umask it is stricter, never looser."""
    keep_others_out()
    done = threading.Event()

    def set_again() -> None:
        while not done.is_set():
            keep_others_out()

    thread = threading.Thread(target=set_again)
    thread.start()
    for number in range(300):
        (tmp_path / str(number)).touch()
    done.set()
    thread.join()
    assert not [path for path in tmp_path.iterdir() if is_open_to_others(path)]


def test_closing_takes_the_rights_of_others_only_and_follows_no_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "folder").mkdir(parents=True)
    for path, mode in ((outside, 0o666), (root / "folder" / "a", 0o754), (root / "b", 0o640)):
        path.touch()
        path.chmod(mode)
    (root / "link").symlink_to(outside)
    for folder in (root, root / "folder"):
        folder.chmod(0o2775)
    assert close_to_others(root) == 3
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}
    assert modes == {"folder": 0o2770, "a": 0o750, "b": 0o640, "link": 0o666}
    assert stat.S_IMODE(root.stat().st_mode) == 0o2770
    assert close_to_others(root) == 0
