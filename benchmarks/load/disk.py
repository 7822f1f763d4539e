"""A disk for the traffic that can be filled: a file system of its own where mounting is allowed."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil

BALLAST = "ballast"
SPARE = 2**23  # that is written, since the file system itself takes a part of what is free


class Disk(Protocol):
    """The folder of the traffic, and how its disk is filled and freed."""

    what: str

    def fill(self) -> None:
        """Let the next write fail."""

    def free(self) -> None:
        """Let writes succeed again."""


class OwnFileSystem(Disk):
    """ext4 in a file, mounted at the folder; a second file takes what is free."""

    what = "ext4 on a loop device, filled to its last block by a ballast file (ENOSPC)"

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / BALLAST

    def fill(self) -> None:
        """Take all but the last blocks at once, and write until the disk takes no byte more."""
        free = os.statvfs(self._ballast.parent)
        with self._ballast.open("ab", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize - SPARE, 1))
            for size in (2**20, 2**16, 2**12, 1):
                _write_until_full(file.fileno(), bytes(size))

    def free(self) -> None:
        """Delete the ballast."""
        self._ballast.unlink(missing_ok=True)


class FileSizeLimit(Disk):
    """Where nothing can be mounted: the system refuses every write of the service's workers."""

    what = "RLIMIT_FSIZE of the workers at 0 (EFBIG): mounting a small disk needs root"

    def __init__(self, workers: Callable[[], Sequence[psutil.Process]]) -> None:
        self._workers = workers

    def fill(self) -> None:
        """Let no file of the workers grow."""
        self._limit(0)

    def free(self) -> None:
        """Let files grow again."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        for worker in self._workers():
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def small_disk(
    folder: Path, size: int, workers: Callable[[], Sequence[psutil.Process]]
) -> Iterator[Disk]:
    """A disk of `size` bytes at `folder`; as root a real one, else a limit for `workers`."""
    folder.mkdir(parents=True, exist_ok=True)
    image = folder.with_name(f"{folder.name}.ext4")
    if os.geteuid() != 0 or not _is_mounted(image, folder, size):
        yield FileSizeLimit(workers)
        return
    try:
        (folder / "lost+found").rmdir()
        yield OwnFileSystem(folder)
    finally:
        (folder / BALLAST).unlink(missing_ok=True)
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        image.unlink()


def _is_mounted(image: Path, folder: Path, size: int) -> bool:
    with image.open("wb") as file:
        file.truncate(size)
    for words in (
        ["mkfs.ext4", "-q", "-m", "0", str(image)],
        ["mount", "-o", "loop", str(image), str(folder)],
    ):
        try:
            subprocess.run(words, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{' '.join(words)}: {error}")
            image.unlink()
            return False
    return True


def _write_until_full(descriptor: int, block: bytes) -> None:
    try:
        while os.write(descriptor, block):
            continue
    except OSError as error:
        if error.errno != 28:  # ENOSPC is what we are after
            raise
