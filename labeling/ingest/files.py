"""Image files under folders: listed, read once and cleaned, in several processes at a time."""

import hashlib
import multiprocessing
import os
import signal
import stat
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

from core.images import MAX_BYTES, CleanImage, ImageRefused, clean_image, too_many_bytes

LONGEST_KEY = 2_000  # bytes of a path; PostgreSQL takes keys of up to 2,704
SHOWN = 200  # characters at the end of a longer one
_CHUNK_FILES = 128
_CHUNK_BYTES = 2**23
_CHUNKS_AHEAD = 8  # for each process: enough to stay busy while a shard is written, and no more


class ImageFile(NamedTuple):
    """A file as it was when we looked: read again when size or time are others."""

    path: str
    size: int
    mtime_ns: int

    @property
    def name(self) -> str:
        """The path as text that any database takes as a key; two paths never share it."""
        if self.path.isascii() and len(self.path) <= LONGEST_KEY:
            return self.path
        raw = os.fsencode(self.path)
        text = raw.decode("utf-8", "backslashreplace")
        if len(text.encode()) > LONGEST_KEY:
            return f"long:{hashlib.sha256(raw).hexdigest()}:{text[-SHOWN:]}"
        if text.encode() == raw:
            return text
        # Bytes that are no UTF-8: no path that is begins like this.
        return "undecodable:" + raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class ReadFile:
    """A file that was read: the image in it, or why there is none."""

    file: ImageFile
    outcome: CleanImage | ImageRefused


def files_under(
    paths: Sequence[Path], *, without: Collection[Path] = ()
) -> tuple[list[ImageFile], int]:
    """Every file under `paths`, each once and in a fixed order, and how many entries were skipped.

    Skipped are hidden entries, links, whatever is no regular file, and the folders `without`.
    """
    files: dict[str, ImageFile] = {}
    skipped = 0
    for path in paths:
        root = Path(path).expanduser()
        if not root.exists():
            raise ValueError(f"{path} does not exist; name a folder or an image file")
        for entry in _walk(str(root.resolve()), {str(folder) for folder in without}):
            if entry is None:
                skipped += 1
            else:
                files[entry.path] = entry
    return list(files.values()), skipped


def _walk(root: str, without: set[str]) -> Iterator[ImageFile | None]:
    """The files below `root`; None for an entry that is skipped."""
    if not os.path.isdir(root):  # noqa: PTH112 - text all the way: a Path per file is slow
        status = os.stat(root)  # noqa: PTH116
        yield ImageFile(root, status.st_size, status.st_mtime_ns)
        return
    folders = [root]
    while folders:
        folder = folders.pop()
        below = []
        for entry in _entries(folder):
            if isinstance(entry, ImageFile):
                yield entry
            elif entry.name.startswith(".") or entry.path in without or entry.is_symlink():
                yield None
            elif entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            else:
                yield _regular(entry)
        folders += reversed(below)


def _entries(folder: str) -> Iterable[os.DirEntry[str] | ImageFile]:
    """What is in a folder, by name; one that may not be listed stands for itself, to be refused."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return [ImageFile(folder, 0, 0)]


def _regular(entry: os.DirEntry[str]) -> ImageFile | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:  # gone since the folder was listed
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return ImageFile(entry.path, status.st_size, status.st_mtime_ns)


def read_files(files: Sequence[ImageFile], *, processes: int) -> Iterator[list[ReadFile]]:
    """All of `files` read and cleaned, in their order; a bounded number is under way at a time."""
    chunks = list(_chunks(files))
    if processes <= 1 or len(chunks) <= 1:
        yield from map(_read_chunk, chunks)
        return
    waiting: deque[tuple[list[ImageFile], Future[list[ReadFile]]]] = deque()
    pool = _pool(min(processes, len(chunks)))
    try:
        for chunk in chunks:
            try:
                waiting.append((chunk, pool.submit(_read_chunk, chunk)))
            except BrokenProcessPool:
                yield from (_result(*one) for one in waiting)
                waiting.clear()
                pool.shutdown()
                pool = _pool(min(processes, len(chunks)))
                waiting.append((chunk, pool.submit(_read_chunk, chunk)))
            if len(waiting) >= processes * _CHUNKS_AHEAD:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    )


def _chunks(files: Iterable[ImageFile]) -> Iterator[list[ImageFile]]:
    chunk: list[ImageFile] = []
    size = 0
    for file in files:
        if chunk and (len(chunk) == _CHUNK_FILES or size + file.size > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(file)
        size += file.size
    if chunk:
        yield chunk


def _result(chunk: list[ImageFile], future: Future[list[ReadFile]]) -> list[ReadFile]:
    """What a process read, or where one died under these or other files, what another one reads."""
    try:
        return future.result()
    except BrokenProcessPool:
        return _read_alone(chunk)


def _read_alone(chunk: list[ImageFile]) -> list[ReadFile]:
    """The files read by a process of their own, in ever smaller parts.

    A decoder that crashes, or takes all memory, would else stop every later ingest at its file.
    """
    with _pool(1) as pool:
        try:
            return pool.submit(_read_chunk, chunk).result()
        except BrokenProcessPool:
            if len(chunk) == 1:
                detail = "the process that read it died (killed, or out of memory?)"
                return [ReadFile(chunk[0], ImageRefused("UNREADABLE", detail))]
    half = len(chunk) // 2
    return _read_alone(chunk[:half]) + _read_alone(chunk[half:])


def _end_with_parent() -> None:
    """In a worker: leave an interrupt to the parent, and go when the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _read_chunk(chunk: list[ImageFile]) -> list[ReadFile]:
    return [read_file(file) for file in chunk]


def read_file(file: ImageFile) -> ReadFile:
    """The image in a file, with the size and time of what was read."""
    try:
        file, content = _read(file)
        return ReadFile(file, clean_image(content))
    except ImageRefused as refused:
        return ReadFile(file, refused)
    except OSError as error:
        return ReadFile(file, ImageRefused("UNREADABLE", error.strerror or str(error)))


def _read(file: ImageFile) -> tuple[ImageFile, bytes]:
    """The bytes of a file that stayed the same meanwhile; a link in its place is not followed."""
    descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as opened:
        before = os.fstat(descriptor)
        if before.st_size > MAX_BYTES:
            raise too_many_bytes(before.st_size)
        content = opened.read(before.st_size + 1)
        after = os.fstat(descriptor)
    read = ImageFile(file.path, before.st_size, before.st_mtime_ns)
    if (len(content), after.st_size, after.st_mtime_ns) != (read.size, read.size, read.mtime_ns):
        raise ImageRefused(
            "CHANGED", "the file changed while it was read; it is read again next time"
        )
    return read, content
