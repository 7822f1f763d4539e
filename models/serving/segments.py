"""Segments: the files that the service appends its predictions to before it answers.

A segment is a row of records: `<checksum> <JSON>` on one line, then the image's bytes. A torn end
was never answered.
"""

import base64
import hashlib
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.files import sync_folder

DIGITS = 6  # of an output, as it is served and recorded
HALF = np.dtype("<f2")  # of an embedding, as it is recorded: 1 KB of 512 numbers
SEGMENT_BYTES = 64 * 2**20  # small enough to copy or throw away, large enough to be few
HEADER_START = re.compile(rb"[0-9a-f]{16} \{")
HEADER_BYTES = 2**20  # a line longer than this is no header of ours


@dataclass(frozen=True)
class Served:
    """One prediction as it was answered."""

    prediction_id: str
    request_id: str
    model: str
    sample_id: str  # SHA-256 of the image's bytes as received
    label: str
    confidence: float
    probabilities: list[float]
    needs_review: bool
    served_at: str
    embedding: bytes | None = None  # float16, little-endian


class SegmentWriter:
    """Appends served predictions to this process's own segment file in `folder`.

    A segment is a row of records: `<checksum> <JSON>` on one line, then the image's bytes.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._segment: _Segment | None = None

    def append(self, records: Sequence[tuple[Served, bytes]]) -> None:
        """Come back when all records are on disk, for good; an OSError means they may not be.

        Threads that append at the same time share one fsync.
        """
        content = b"".join(_encode(record, image) for record, image in records)
        with self._lock:
            segment = self._current()
            try:
                ticket = segment.write(content)
            except OSError:
                self._segment = None  # its end may be torn: what follows goes to a new one
                raise
        try:
            segment.sync(ticket)
        except OSError:
            with self._lock:
                if self._segment is segment:  # after a failed fsync nobody knows what it holds
                    self._segment = None
            raise

    def close(self) -> None:
        """Let go of the segment; a later append begins a new one."""
        with self._lock:
            if self._segment is not None:
                self._segment.close()
            self._segment = None

    def _current(self) -> "_Segment":
        if self._segment is not None and self._segment.size >= self._segment_bytes:
            self._segment.close()
            self._segment = None
        if self._segment is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}.seg"
            self._segment = _Segment(self.folder / name)
            sync_folder(self.folder)
        return self._segment


class _Segment:
    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._sync_lock = threading.Lock()
        self._synced = 0
        self._failed: OSError | None = None
        self.size = 0

    def write(self, content: bytes) -> int:
        """Append; return the ticket to `sync` with: the size that must be on disk."""
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(content)
        return self.size

    def sync(self, ticket: int) -> None:
        """Come back when `ticket` bytes are on disk; one call serves all that wait."""
        with self._sync_lock:
            if self._synced >= ticket:
                return
            if self._failed:  # the system reports a failed fsync once, and then forgets the bytes
                raise OSError(f"{self._file.name}: an earlier fsync failed") from self._failed
            written = self.size
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                self._failed = error
                raise
            self._synced = written

    def close(self) -> None:
        self.sync(self.size)
        self._file.close()


@dataclass(frozen=True)
class Record:
    """A record read back: its fields as JSON has them, and where its image lies."""

    segment: str
    offset: int
    length: int
    fields: dict[str, Any]

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + self.length


def read_records(path: Path, start: int = 0) -> Iterator[Record]:
    """The records of a segment from byte `start` on, as far as they were written whole."""
    with path.open("rb") as file:
        file.seek(start)
        while (fields := decode_header(file.readline(HEADER_BYTES))) is not None:
            record = Record(path.name, file.tell(), fields.pop("length"), fields)
            if record.end > os.fstat(file.fileno()).st_size:
                return
            yield record
            file.seek(record.end)


def half_precision(embedding: np.ndarray) -> bytes | None:
    """An embedding as it is recorded; None where float16 does not hold its numbers."""
    with np.errstate(over="ignore"):
        packed = embedding.astype(HALF)
    return packed.tobytes() if np.isfinite(packed).all() else None


def _encode(record: Served, image: bytes) -> bytes:
    embedding = base64.b64encode(record.embedding).decode() if record.embedding else None
    fields = asdict(record) | {"embedding": embedding, "length": len(image)}
    text = json.dumps(fields, allow_nan=False).encode()
    return b"%s %s\n%s" % (_checksum(text), text, image)


def decode_header(line: bytes) -> dict[str, Any] | None:
    """The fields of a header line; None for anything but a whole header."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != _checksum(text):
        return None
    return dict(json.loads(text))


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()
