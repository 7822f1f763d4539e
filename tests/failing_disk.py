"""A disk that fails at the Nth thing that a step asks of it, below one folder."""

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FULL, BROKEN = errno.ENOSPC, errno.EIO
AT_MOST = 200  # requests of one step


class FailingDisk:
    """Opens for writing, writes, renames and syncs below a folder, of which one fails."""

    def __init__(self, below: Path, at: int, error: int) -> None:
        self.asked: list[str] = []
        self._below, self._at, self._error = str(below), at, error

    @property
    def failed(self) -> bool:
        """Whether the step came as far as the one that fails."""
        return len(self.asked) >= self._at

    def ask(self, what: str, path: Any) -> None:
        """Count what is asked for; the Nth is refused."""
        name = os.fsdecode(path) if isinstance(path, str | bytes | Path) else _name_of(path)
        if not name.startswith(self._below):
            return
        self.asked.append(what)
        if len(self.asked) == self._at:
            raise OSError(self._error, os.strerror(self._error), name)


@contextmanager
def failing_disk(below: Path, at: int, error: int) -> Iterator[FailingDisk]:
    """Let the `at`th request to the disk below a folder fail; a write fails half done."""
    disk = FailingDisk(below, at, error)
    opened, fdopened, low = io.open, os.fdopen, os.open

    class Raw(io.FileIO):
        def write(self, content: Any, /) -> int:
            view = memoryview(content).cast("B")
            try:
                disk.ask("write", _name_of(self.fileno()))
            except OSError:
                super().write(view[: len(view) // 2])
                raise
            return super().write(view)

    def open_file(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **named: Any) -> Any:
        if not isinstance(file, int) and set(mode) & set("wxa+"):
            disk.ask("open", file)
        if buffering == 0 and not isinstance(file, int):
            return Raw(file, mode.replace("b", ""))
        return opened(file, mode, buffering, *more, **named)

    def open_descriptor(descriptor: int, mode: str = "r", *more: Any, **named: Any) -> Any:
        if mode == "w+b":
            return io.BufferedRandom(Raw(descriptor, "r+"))
        return fdopened(descriptor, mode, *more, **named)

    def open_low(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            disk.ask("open", path)
        return low(path, flags, *more, **named)

    def renamed(act: Any) -> Any:
        def rename(source: Any, target: Any, **named: Any) -> None:
            disk.ask("rename", source)
            act(source, target, **named)

        return rename

    def synced(act: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            disk.ask("fsync", descriptor)
            act(descriptor)

        return sync

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_file)
        patch.setattr(os, "fdopen", open_descriptor)
        patch.setattr(os, "open", open_low)
        patch.setattr(os, "fsync", synced(os.fsync))
        patch.setattr(os, "fdatasync", synced(os.fdatasync))
        patch.setattr(os, "replace", renamed(os.replace))
        patch.setattr(os, "rename", renamed(os.rename))
        yield disk


def failures(
    below: Path, work: Callable[[], object], error: int, *kinds: type[Exception]
) -> Iterator[str]:
    """Do `work` with each of its requests to the disk failing in turn; what failed, each time.

    The last time nothing does. Other errors than OSError and `kinds` are raised.
    """
    for at in range(1, AT_MOST):
        with failing_disk(below, at, error) as disk:
            if not _fails(work, (OSError, *kinds)) and not disk.failed:
                return
        yield disk.asked[at - 1]
    raise AssertionError(f"more than {AT_MOST} requests: {disk.asked}")


def _fails(work: Callable[[], object], kinds: tuple[type[Exception], ...]) -> bool:
    try:
        work()
    except kinds:
        return True
    return False


def _name_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - text, it may be deleted
