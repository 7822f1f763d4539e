"""The records of a repeated request, from whichever worker and model answered it before.

A client that heard nothing sends its request again under the same id, and another worker gets it,
perhaps after a release. What was recorded then is the answer: the segments of all workers are read
for it. A lock on the id, which the system frees when its holder dies, makes two workers that have
the same request answer one after the other.
"""

import asyncio
import fcntl
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from core.files import sync_path
from models.serving.requests import RequestError
from models.serving.segment_reader import Record, read_records
from models.serving.segments import prediction_id

REMEMBERED = 100_000  # requests of all workers, and predictions: 45 MB of memory
WAIT_SECONDS = 0.02  # until a request id that another worker holds is tried again
IDLE_SECONDS = 24 * 3600.0  # a segment untouched for longer, when we begin, grows no more
TICK_SECONDS = 1.0  # two changes of a folder closer than that may have the same time
CLAIMS = ".claims"  # file in the folder of the segments; it stays empty, its bytes are locked


@dataclass
class _Segment:
    """How far a segment was read, and its size then; its writer may append."""

    path: Path
    read_to: int = 0
    size: int = 0


class EarlierAnswers:
    """Finds the records of a request in the segments of `folder`: the newest 100,000 requests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._segments: list[_Segment] = []
        self._growing: dict[str, int] = {}  # process that writes -> number of its newest segment
        self._changed_at = -1  # change of the folder up to which its segments are known
        self._places: OrderedDict[int, tuple[tuple[int, int], ...]] = OrderedDict()
        self._predictions: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._reads_backwards = False  # newest segment first, so what comes later is older
        self._claims: int | None = None

    def read_in_background(self) -> None:
        """Read what other workers, and those before this one, recorded."""
        threading.Thread(target=self._read_new_locked, name="hone-earlier", daemon=True).start()

    @asynccontextmanager
    async def claimed(self, request_id: str) -> AsyncIterator[None]:
        """Hold a request id; another worker that has it ends first, or dies."""
        claims, byte = self._open_claims(), _number(request_id) >> 1  # an offset is below 2**63
        while not _is_locked(claims, byte):
            await asyncio.sleep(WAIT_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(claims, fcntl.LOCK_UN, 1, byte)

    def records(self, request_id: str, images: Sequence[bytes]) -> dict[int, Record]:
        """The records of a request by the position of the image; they are synced to disk.

        Call it while the id is `claimed`. Records of other images are a `RequestError`.
        """
        records = self._records(request_id)
        samples = [hashlib.sha256(image).hexdigest() for image in images] if records else []
        by_position: dict[int, Record] = {}
        for record in records:
            for position, sample in enumerate(samples):
                mine = prediction_id(request_id, position, sample, record.fields["model"])
                if mine == record.fields["prediction_id"]:
                    by_position.setdefault(position, record)
                    break
            else:
                raise RequestError(
                    409,
                    "REQUEST_ID_REUSED",
                    f"X-Request-ID {request_id} came with other images before",
                )
        return by_position

    def prediction(self, prediction_id: str) -> Record | None:
        """The record of a prediction; None for one that is not among the newest 100,000."""
        self._read_new_locked()
        with self._lock:
            number, start = self._predictions.get(_number(prediction_id), (-1, 0))
            path = self._segments[number].path if number >= 0 else None
        if path is None or not path.exists():
            return None
        record = next(read_records(path, start), None)
        is_it = record is not None and record.fields["prediction_id"] == prediction_id
        return record if is_it else None

    def _records(self, request_id: str) -> list[Record]:
        self._read_new_locked()
        with self._lock:
            places = self._places.get(_number(request_id), ())
            paths = [(self._segments[segment].path, start) for segment, start in places]
        records: list[Record] = []
        for path, start in paths:
            if not path.exists():  # moved away by a person
                continue
            read = read_records(path, start)
            mine = list(takewhile(lambda one: one.fields["request_id"] == request_id, read))
            if mine:
                sync_path(path)  # its writer may have died between writing and syncing
            records += mine
        return records

    def _read_new_locked(self) -> None:
        with self._lock:
            self._list_segments()
            for number in sorted(self._growing.values()):
                self._read_on(number)

    def _list_segments(self) -> None:
        """Take note of new segments; at first the newest ones, as many as are remembered."""
        if not self._folder.is_dir():
            return
        changed_at = self._folder.stat().st_mtime_ns
        is_settled = time.time() - changed_at / 1e9 > TICK_SECONDS
        if changed_at == self._changed_at and is_settled:
            return
        first = self._changed_at == -1
        self._changed_at = changed_at
        known = {segment.path for segment in self._segments}
        new = [path for path in sorted(self._folder.glob("*.seg")) if path not in known]
        for path in new:
            self._segments.append(_Segment(path))
            writer = path.name.split("-")[1] if "-" in path.name else ""
            before = self._growing.get(writer)
            self._growing[writer] = len(self._segments) - 1
            if before is not None and not first:
                self._read_on(before)  # to its end: a process appends to its newest one only
        if first:
            self._read_newest()
            self._growing = {
                writer: number
                for writer, number in self._growing.items()
                if not _is_idle(self._segments[number].path)
            }

    def _read_newest(self) -> None:
        self._reads_backwards = True
        for number in reversed(range(len(self._segments))):
            if len(self._places) >= REMEMBERED:
                segment = self._segments[number]
                with suppress(FileNotFoundError):  # a drain removed it: it was empty
                    segment.read_to = segment.size = segment.path.stat().st_size
            else:
                self._read_on(number)
        self._reads_backwards = False

    def _read_on(self, number: int) -> None:
        segment = self._segments[number]
        try:
            size = segment.path.stat().st_size
            if size == segment.size:
                return
            last = ""
            for record in read_records(segment.path, segment.read_to):
                request_id = str(record.fields["request_id"])
                if request_id != last:  # the records of a request follow each other
                    key = _number(request_id)
                    self._places[key] = (*self._places.get(key, ()), (number, record.start))
                    if len(self._places) > REMEMBERED:
                        self._places.popitem(last=False)
                last = request_id
                self._predictions[_number(record.fields["prediction_id"])] = number, record.start
                if len(self._predictions) > REMEMBERED:
                    self._predictions.popitem(last=self._reads_backwards)
                segment.read_to = record.end
            segment.size = size
        except FileNotFoundError:  # moved away by a person
            self._growing = {w: one for w, one in self._growing.items() if one != number}

    def _open_claims(self) -> int:
        """The file of the locks, opened once: closing it anywhere would free all of them."""
        if self._claims is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._claims = os.open(self._folder / CLAIMS, os.O_RDWR | os.O_CREAT, 0o660)
        return self._claims


def _is_idle(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime >= IDLE_SECONDS
    except FileNotFoundError:  # a drain removed it: it was empty
        return True


def _number(name: str) -> int:
    """64 bits of an id: one of any length takes the same memory."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def _is_locked(claims: int, byte: int) -> bool:
    try:
        fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):  # another process has it
        return False
    return True
