"""Segments: the files that the service appends its predictions to before it answers.

A record is a fixed header (marker, sequence number, lengths, checksums), JSON, and the image's
bytes. The marker is random for each segment and stands in its name, so that whole records are
found again behind a damaged one, and no image that a client sends can pass for a record. A torn
end was never answered.

A service holds the lock of the segment that it writes until it ends, so an empty segment without
one is of a service that was killed before its first record; after an hour a drain removes it.
"""

import base64
import fcntl
import hashlib
import json
import os
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.files import sync_path

DIGITS = 6  # of an output, as it is served and recorded
HALF = np.dtype("<f2")  # of an embedding, as it is recorded: 1 KB of 512 numbers
SEGMENT_BYTES = 64 * 2**20  # small enough to copy or delete, large enough to be few
ABANDONED_SECONDS = 3600.0  # an empty segment is of a dead service, and no copy under way
HEADER = struct.Struct("<8sIII")  # marker, sequence number, bytes of JSON, bytes of the image
_encoded = json.JSONEncoder(allow_nan=False).encode  # `dumps` makes an encoder for each record
CHECKS = struct.Struct("<I8s")  # of the header, of the JSON
HEAD = HEADER.size + CHECKS.size


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
    statistics: bytes | None = None  # of the image: `core.image_statistics.packed`
    source: str | None = None  # as the client named it in X-Source


class SegmentWriter:
    """Appends served predictions to this process's own segment file in `folder`."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._segment: _Segment | None = None

    def append(self, records: Sequence[tuple[Served, bytes]]) -> None:
        """Return when all records are fsynced; an OSError means that they may not be.

        Threads that append at the same time share one fsync.
        """
        self.append_parts([(_as_json(record), image) for record, image in records])

    def append_parts(self, bodies: Sequence[tuple[bytes, bytes]]) -> None:
        """`append` of records that are JSON already, each with the bytes that it is about."""
        with self._lock:
            segment = self._current()
            try:
                ticket = segment.write(bodies)
            except OSError:
                self._segment = None  # its end may be torn: the next record starts a new one
                segment.abandon()
                raise
        try:
            segment.sync(ticket)
        except OSError:
            with self._lock:
                if self._segment is segment:  # its content is unknown after a failed fsync
                    self._segment = None
            raise

    def close(self) -> None:
        """Close the segment; a later append begins a new one."""
        with self._lock:
            if self._segment is not None:
                self._segment.close()
            self._segment = None

    def _current(self) -> "_Segment":
        if self._segment is not None and self._segment.size >= self._segment_bytes:
            full, self._segment = self._segment, None
            full.close()
        if self._segment is None:
            self._segment = self._begun()
        return self._segment

    def _begun(self) -> "_Segment":
        """A new segment, whose name is on disk before anything is answered that is in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            marker = secrets.token_bytes(8)
            name = f"{time.time_ns():020d}-{os.getpid()}-{marker.hex()}.seg"
            segment = _Segment(self.folder / name, marker)
            if segment.has_name:  # else a drain came between its creation and its lock
                break
            segment.abandon()
        try:
            sync_path(self.folder)
        except OSError:
            segment.abandon()
            raise
        return segment


class _Segment:
    def __init__(self, path: Path, marker: bytes) -> None:
        self._path = path
        self._marker = marker
        self._file = path.open("xb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._records = 0
        self._sync_lock = threading.Lock()
        self._synced = 0
        self._failed: OSError | None = None
        self.size = 0

    @property
    def has_name(self) -> bool:
        """Whether the file is still in its folder."""
        return os.fstat(self._file.fileno()).st_nlink > 0

    def write(self, bodies: Sequence[tuple[bytes, bytes]]) -> int:
        """Append; return the ticket for `sync`: the size that must be on disk."""
        content = b"".join(
            _encode(self._marker, sequence, text, image)
            for sequence, (text, image) in enumerate(bodies, start=self._records)
        )
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(content)
        self._records += len(bodies)
        return self.size

    def abandon(self) -> None:
        """Let go of a segment that could not be written; an empty one leaves no file behind."""
        if self.size == 0:
            self._file.close()
            self._path.unlink(missing_ok=True)

    def sync(self, ticket: int) -> None:
        """Return when `ticket` bytes are on disk; one fsync serves all waiting callers."""
        with self._sync_lock:
            if self._synced >= ticket:
                return
            if self._failed:  # the system reports a failed fsync once and drops the pages
                raise OSError(f"{self._file.name}: an earlier fsync failed") from self._failed
            written = self.size
            try:
                self._flush(self._file.fileno())
            except OSError as error:
                self._failed = error
                raise
            if not self.has_name:
                self._failed = OSError(f"{self._file.name} was deleted while it was written")
                raise self._failed
            self._synced = written

    @staticmethod
    def _flush(descriptor: int) -> None:
        """Put content and length on disk; without times and the like it takes half as long."""
        getattr(os, "fdatasync", os.fsync)(descriptor)

    def close(self) -> None:
        self.sync(self.size)
        self._file.close()


def remove_if_abandoned(path: Path) -> bool:
    """Remove an old empty segment that no living service writes; return whether it is gone.

    A younger one may be a copy that somebody makes of a segment.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:  # another drain was faster
        return True
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        about = os.fstat(file.fileno())
        if about.st_size or time.time() - about.st_mtime < ABANDONED_SECONDS:
            return False
        path.unlink(missing_ok=True)
    return True


def prediction_id(request_id: str, position: int, sample_id: str, model: str) -> str:
    """The id of a prediction: the same image under the same request id is the same prediction."""
    identity = [request_id, str(position), sample_id, model]
    return hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32]


def half_precision(embedding: np.ndarray) -> bytes | None:
    """The embedding as float16 bytes; None where float16 cannot represent its numbers."""
    with np.errstate(over="ignore"):
        packed = embedding.astype(HALF)
    return packed.tobytes() if np.isfinite(packed).all() else None


def checksum(text: bytes) -> bytes:
    """What tells JSON that was written from JSON that was damaged."""
    return hashlib.blake2b(text, digest_size=8).digest()


def _as_json(record: Served) -> bytes:
    fields = dict(vars(record))  # `asdict` copies each number on its own: a third of a millisecond
    for name in ("embedding", "statistics"):
        fields[name] = base64.b64encode(fields[name]).decode() if fields[name] else None
    return _encoded(fields).encode()


def _encode(marker: bytes, sequence: int, text: bytes, image: bytes) -> bytes:
    head = HEADER.pack(marker, sequence, len(text), len(image))
    return head + CHECKS.pack(zlib.crc32(head), checksum(text)) + text + image
