"""Which files are found below a folder, and what reading them says."""

import io
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.images import MAX_BYTES, ImageRefused
from labeling.ingest import files
from labeling.ingest.files import ImageFile, ReadFile, files_under, read_file, read_files


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(256, size=(8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png() if content is None else content)
    return path


def refused(found: ImageFile) -> ImageRefused:
    outcome = read_file(found).outcome
    assert isinstance(outcome, ImageRefused)
    return outcome


def test_files_are_found_once_and_in_a_fixed_order(tmp_path: Path) -> None:
    wanted = [put(tmp_path / name) for name in ("z.png", "a/b/c.png", "a/d.png", "b.png")]
    found, skipped = files_under([tmp_path, tmp_path / "a", tmp_path / "z.png"])
    assert {one.path for one in found} == {str(path) for path in wanted}
    assert len(found) == 4
    assert files_under([tmp_path]) == (found, skipped) == (found, 0)
    assert found[0].size == len(png())
    assert found[0].mtime_ns == Path(found[0].path).stat().st_mtime_ns


def test_hidden_entries_links_and_what_is_no_file_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, folder = put(tmp_path / "outside" / "a.png"), tmp_path / "in"
    kept = put(folder / "kept.png")
    put(folder / ".hidden.png")
    put(folder / ".cache" / "a.png")
    (folder / "out").symlink_to(outside.parent)
    (folder / "out.png").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    monkeypatch.chdir(folder)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        found, skipped = files_under([folder])
    assert [one.path for one in found] == [str(kept)]
    assert skipped == 7


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    kept = put(tmp_path / "kept" / "a.png")
    (tmp_path / "link").symlink_to(kept.parent)
    assert [one.path for one in files_under([tmp_path / "link"])[0]] == [str(kept)]


def test_folders_may_be_left_out(tmp_path: Path) -> None:
    put(tmp_path / "out" / "a.png")
    kept = put(tmp_path / "in" / "a.png")
    found, skipped = files_under([tmp_path], without=[tmp_path / "out"])
    assert ([one.path for one in found], skipped) == ([str(kept)], 1)


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gone does not exist; name a folder"):
        files_under([tmp_path / "gone"])


def test_two_paths_never_share_a_name() -> None:
    paths = ["/a/\udcff", "/a/\\xff", "/a/\\\\xff", "/a/\udcff\\", "/a/ä", "/a/\n"]
    names = [ImageFile(path, 0, 0).name for path in paths]
    assert len(set(names)) == len(paths)
    assert all(name.encode() for name in names)
    assert names[-2:] == paths[-2:]


@pytest.mark.parametrize("sign", ["a", "\u00e4", "\udcff", "\\"])
def test_a_path_too_long_for_a_key_of_the_database_has_a_name_that_is_not(sign: str) -> None:
    """An index of PostgreSQL takes 2,704 bytes; one file ended the ingest of all."""
    paths = [f"/{folder}/" + f"{sign * 100}/" * 35 + "a.png" for folder in "xy"]
    one, other = (ImageFile(path, 0, 0).name for path in paths)
    assert one != other and one.startswith("long:") and one.endswith("/a.png")
    assert len(one.encode()) < 2_704
    assert ImageFile(f"/{sign}/a.png", 0, 0).name.endswith("/a.png")


def test_a_file_is_read_with_the_size_and_time_it_had_then(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png")
    read = read_file(ImageFile(str(path), 1, 1))
    assert read.file == files_under([path])[0][0]


@pytest.mark.parametrize("step", [1, 2])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    path, stat_of, calls = put(tmp_path / "a.png"), os.fstat, []

    def with_a_writer_beside_us(descriptor: int) -> os.stat_result:
        calls.append(stat_of(descriptor))
        if len(calls) == step:
            os.utime(path, ns=(0, len(calls)))
            return calls[-1]
        return stat_of(descriptor)

    monkeypatch.setattr(os, "fstat", with_a_writer_beside_us)
    outcome = read_file(ImageFile(str(path), 1, 1)).outcome
    assert isinstance(outcome, ImageRefused) == (step == 1)
    if isinstance(outcome, ImageRefused):
        assert (outcome.reason, "while it was read" in outcome.detail) == ("CHANGED", True)


def test_a_link_put_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png")
    (found,), _ = files_under([path])
    path.rename(tmp_path / "kept.png")
    assert refused(found).reason == "UNREADABLE"
    path.symlink_to(tmp_path / "kept.png")
    assert refused(found).reason == "UNREADABLE"


def test_a_folder_that_may_not_be_listed_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, closed = put(tmp_path / "a.png"), put(tmp_path / "closed" / "b.png").parent
    scandir = os.scandir

    def as_if_closed(folder: str) -> object:
        if folder == str(closed):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", as_if_closed)  # root, as who tests may run, may list all
    found, _ = files_under([tmp_path])
    assert [one.path for one in found] == [str(kept), str(closed)]
    assert refused(found[1]).reason == "UNREADABLE"


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", b"")
    os.truncate(path, MAX_BYTES + 1)  # takes no room on the disk
    assert refused(files_under([path])[0][0]).reason == "TOO_MANY_BYTES"


@pytest.mark.parametrize("processes", [1, 2])
def test_files_come_back_in_their_order_a_chunk_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(files, "_CHUNK_FILES", 3)
    for number in range(10):
        put(tmp_path / f"{number}.png", png(number))
    found, _ = files_under([tmp_path])
    chunks = list(read_files(found, processes=processes))
    assert [len(chunk) for chunk in chunks] == [3, 3, 3, 1]
    assert [read.file for chunk in chunks for read in chunk] == found


def test_a_chunk_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CHUNK_BYTES", 2 * len(png()))
    for number in range(5):
        put(tmp_path / f"{number}.png")
    chunks = list(read_files(files_under([tmp_path])[0], processes=1))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]


def die_of_a_name(chunk: list[ImageFile]) -> list[ReadFile]:
    """As a reader does whose decoder crashes on one of the files."""
    if any(Path(file.path).name == "deadly.png" for file in chunk):
        os.abort()
    return [read_file(file) for file in chunk]


def test_a_file_that_kills_its_reader_is_refused_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_CHUNK_FILES", 3)
    monkeypatch.setattr(files, "_CHUNKS_AHEAD", 1)
    monkeypatch.setattr(files, "_read_chunk", die_of_a_name)
    for name in ("a", "b", "deadly", "e", "f", "g", "h"):
        put(tmp_path / f"{name}.png")
    found, _ = files_under([tmp_path])
    read = [one for chunk in read_files(found, processes=2) for one in chunk]
    assert [one.file.path for one in read] == [file.path for file in found]
    refused = [one for one in read if isinstance(one.outcome, ImageRefused)]
    assert [(Path(one.file.path).name, one.outcome.reason) for one in refused
            if isinstance(one.outcome, ImageRefused)] == [("deadly.png", "UNREADABLE")]  # fmt: skip


def test_readers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    for number in range(40):
        put(tmp_path / "in" / f"{number}.png")
    script = f"""
import multiprocessing, time
from labeling.ingest import files as folders
folders._CHUNK_FILES = 2
files, _ = folders.files_under([{str(tmp_path / "in")!r}])
for chunk in folders.read_files(files, processes=2):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        readers = [int(pid) for pid in parent.stdout.readline().split()]
        watched = [os.pidfd_open(pid) for pid in readers]
        parent.kill()
    assert len(watched) == 2
    for descriptor in watched:
        assert select.select([descriptor], [], [], 60)[0], "a reader outlived its parent"
        os.close(descriptor)


def test_a_jpeg_of_fill_bytes_is_refused_and_holds_up_no_other_file(tmp_path: Path) -> None:
    hostile = put(tmp_path / "a.jpg", b"\xff\xd8" + b"\xff" * 300_000)
    put(tmp_path / "b.png")
    found, _ = files_under([tmp_path])
    first, second = (read_file(one).outcome for one in found)
    assert found[0].path == str(hostile)
    assert isinstance(first, ImageRefused) and first.reason == "TRUNCATED"
    assert not isinstance(second, ImageRefused)
