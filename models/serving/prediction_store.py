"""Served predictions, each with a way back to its image and, later, to its truth.

The service appends to a segment on its own disk, fsynced, before it answers; `drain` copies
segments into the database. A record is known by its `prediction_id`, so draining twice is once.
"""

import hashlib
import heapq
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    Row,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)

from core.database import metadata, writing
from core.files import sync_folder
from core.locks import Token, fence, only_writer

if TYPE_CHECKING:
    import pandas as pd

SEGMENT_BYTES = 64 * 2**20  # small enough to copy or throw away, large enough to be few
HEADER_START = re.compile(rb"[0-9a-f]{16} \{")
HEADER_BYTES = 2**20  # a line longer than this is no header of ours
CHUNK = 2_000  # records a transaction of `drain`
OPEN_SEGMENTS = 64  # read side by side, so that records of several processes come in order of time

segments = Table(
    "segments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("drained_to", BigInteger, nullable=False),
)

predictions = Table(
    "predictions",
    metadata,
    Column("prediction_id", Text, primary_key=True),
    Column(
        "seq", Integer, nullable=False, unique=True
    ),  # order of draining; windows are ranges of it
    Column("request_id", Text, nullable=False, index=True),
    Column("model", Text, nullable=False),
    Column("sample_id", Text, nullable=False, index=True),  # SHA-256 of the bytes received
    Column("segment", Text, nullable=False),  # where the bytes received lie
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("label", Text, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("probabilities", Text, nullable=False),  # JSON, in the order of the model's classes
    Column("needs_review", Boolean, nullable=False),
    Column("served_at", Text, nullable=False),
)


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
class _Found:
    """A record read back: its fields, and where its image lies."""

    segment: str
    offset: int
    length: int
    fields: dict[str, Any]

    @property
    def end(self) -> int:
        return self.offset + self.length


def read_records(path: Path, start: int = 0) -> Iterator[_Found]:
    """The records of a segment from byte `start` on, as far as they were written whole."""
    with path.open("rb") as file:
        file.seek(start)
        while (fields := _decode(file.readline(HEADER_BYTES))) is not None:
            found = _Found(path.name, file.tell(), fields.pop("length"), fields)
            if found.end > os.fstat(file.fileno()).st_size:
                return
            yield found
            file.seek(found.end)


def drain(engine: Engine, folder: Path) -> int:
    """Copy what was appended since the last time into the database; return how many records.

    Idempotent, and safe to call from many processes: records and the place up to which they were
    read are stored in one transaction, under a lock. A torn end of a segment was never answered.
    """
    if not any(size > done for _, size, done in _progress(engine, folder)):
        return 0
    added = 0
    with only_writer(engine, "drain") as token:
        starts = [(path, done) for path, size, done in _progress(engine, folder) if size > done]
        for first in range(0, len(starts), OPEN_SEGMENTS):
            readers = [read_records(*place) for place in starts[first : first + OPEN_SEGMENTS]]
            records = heapq.merge(*readers, key=lambda found: found.fields["served_at"])
            while chunk := list(islice(records, CHUNK)):
                added += _store(engine, token, chunk)
    return added


def unreadable_records(engine: Engine, folder: Path) -> dict[str, int]:
    """For each damaged segment the byte at which `drain` stops although whole records follow.

    A record that was torn by a kill is the last of its segment and was never answered.
    """
    stops: dict[str, int] = {}
    for path, _, done in _progress(engine, folder):
        stop = max((record.end for record in read_records(path, done)), default=done)
        with path.open("rb") as file:
            file.seek(stop)
            rest = file.read()
        starts = [match.start() for match in HEADER_START.finditer(rest)]
        headers = [at for at in starts if _decode(rest[at : rest.find(b"\n", at) + 1])]
        if headers and headers[0] > 0:  # at 0 the last record is torn, or being written just now
            stops[path.name] = stop
    return stops


def read_served_image(folder: Path, row: Any) -> bytes:
    """The bytes a prediction was made from, as received, checked against their SHA-256."""
    if Path(row.segment).name != row.segment:
        raise ValueError(
            f"segment {row.segment!r} is no file name; the prediction store was changed"
        )
    path = folder / row.segment
    with path.open("rb") as file:
        file.seek(row.offset)
        content = file.read(row.length)
    found = hashlib.sha256(content).hexdigest()
    if found != row.sample_id:
        raise ValueError(
            f"{path} at {row.offset}: SHA-256 {found[:12]}, {row.sample_id[:12]} was served; the "
            "segment was changed or damaged, restore it from a backup"
        )
    return content


def window(
    engine: Engine, model: str | None = None, *, after_seq: int = 0, limit: int = 1_000
) -> "pd.DataFrame":
    """The next `limit` predictions after `after_seq`, of one model or of all, in order of `seq`.

    The column `probabilities` holds lists, in the order of the model's classes.
    """
    import pandas as pd

    chosen = select(predictions).where(predictions.c.seq > after_seq)
    if model is not None:
        chosen = chosen.where(predictions.c.model == model)
    with engine.connect() as connection:
        rows = connection.execute(chosen.order_by(predictions.c.seq).limit(limit)).all()
    table = pd.DataFrame(rows, columns=[column.name for column in predictions.c])
    table["probabilities"] = [json.loads(text) for text in table["probabilities"]]
    return table


def find_prediction(engine: Engine, prediction_id: str) -> Row[Any] | None:
    """One prediction by its id; None when it was not served here, or is not drained yet."""
    with engine.connect() as connection:
        return connection.execute(
            select(predictions).where(predictions.c.prediction_id == prediction_id)
        ).first()


def _encode(record: Served, image: bytes) -> bytes:
    text = json.dumps({**asdict(record), "length": len(image)}, allow_nan=False).encode()
    return b"%s %s\n%s" % (_checksum(text), text, image)


def _decode(line: bytes) -> dict[str, Any] | None:
    """The fields of a header line; None for anything but a whole header."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != _checksum(text):
        return None
    return dict(json.loads(text))


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _progress(engine: Engine, folder: Path) -> list[tuple[Path, int, int]]:
    """Every segment with its size and how far it was drained."""
    with engine.connect() as connection:
        done = {row.name: row.drained_to for row in connection.execute(select(segments))}
    found = sorted(folder.glob("*.seg"))
    return [(path, path.stat().st_size, done.get(path.name, 0)) for path in found]


def _store(engine: Engine, token: Token, chunk: list[_Found]) -> int:
    """Add the records that are new, and note how far each segment was read."""
    found: dict[str, _Found] = {}
    for record in chunk:
        found.setdefault(record.fields["prediction_id"], record)
    with writing(engine) as connection:
        fence(connection, token)
        known = set(
            connection.scalars(
                select(predictions.c.prediction_id).where(
                    predictions.c.prediction_id.in_(list(found))
                )
            )
        )
        last = connection.scalar(select(func.max(predictions.c.seq))) or 0
        new = [record for name, record in found.items() if name not in known]
        rows = [_row(record, seq) for seq, record in enumerate(new, start=last + 1)]
        if rows:
            connection.execute(insert(predictions), rows)
        for name, end in {record.segment: record.end for record in chunk}.items():
            _note_progress(connection, name, end)
    return len(rows)


def _row(record: _Found, seq: int) -> dict[str, Any]:
    return {
        **record.fields,
        "probabilities": json.dumps(record.fields["probabilities"]),
        "seq": seq,
        "segment": record.segment,
        "offset": record.offset,
        "length": record.length,
    }


def _note_progress(connection: Connection, name: str, end: int) -> None:
    place = update(segments).where(segments.c.name == name).values(drained_to=end)
    if connection.execute(place).rowcount == 0:
        connection.execute(insert(segments).values(name=name, drained_to=end))
