"""Reads segments back: every whole record, and what is damaged between and behind them."""

import base64
import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from core.text import storable
from models.serving.segments import CHECKS, HEAD, HEADER, checksum

JSON_BYTES = 2**20  # a header that asks for more is damaged
SEARCH_BYTES = 2**20  # read at a time when looking for the next marker
FIELDS = {"prediction_id": str, "request_id": str, "model": str, "sample_id": str, "label": str,
          "confidence": float, "probabilities": list, "needs_review": bool,
          "served_at": str}  # fmt: skip
PACKED = ("embedding", "statistics")  # bytes in base64; older services wrote none
MARKER_IN_NAME = re.compile(r"-([0-9a-f]{16})\.seg$")
OLD_HEADER_START = re.compile(rb"[0-9a-f]{16} \{")

Fields = Callable[[bytes], dict[str, Any] | None]  # of a record's JSON; None: another program's


@dataclass(frozen=True)
class Record:
    """A record read back: its fields as JSON has them, and where its image lies."""

    segment: str
    start: int
    offset: int
    length: int
    fields: dict[str, Any]
    sequence: int

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + self.length


@dataclass(frozen=True)
class Damage:
    """A stretch of a segment that holds no whole record and is not a torn end."""

    segment: str
    start: int
    end: int
    records: int  # lost in it, at least

    def __str__(self) -> str:
        return (
            f"segment {self.segment} is damaged from byte {self.start} to {self.end}: at least "
            f"{self.records} served prediction{'s' if self.records > 1 else ''} cannot be read"
        )


def read_records(path: Path, start: int = 0) -> Iterator[Record]:
    """The whole records of a segment from byte `start` on."""
    return (part for part in scan(path, start) if isinstance(part, Record))


def scan(
    path: Path, start: int = 0, *, fields_of: Fields | None = None
) -> Iterator[Record | Damage]:
    """The whole records of a segment from byte `start` on, with the damage between and behind them.

    Work is linear in the bytes. The torn end that a kill leaves was never answered: it is no
    damage. `fields_of` reads a record's JSON; without it the records are served predictions.
    """
    named = MARKER_IN_NAME.search(path.name)
    with path.open("rb") as file:
        if named is None:
            yield from _scan_old(file, path.name, start)
            return
        marker = bytes.fromhex(named.group(1))
        segment = _Segment(file, path.name, marker, fields_of or _fields)
        position, expected = start, 0 if start == 0 else None
        while record := segment.record_at(position) or segment.next_record(position + 1):
            if record.start > position:
                lost = 1 if expected is None else max(record.sequence - expected, 1)
                yield Damage(path.name, position, record.start, lost)
            yield record
            position, expected = record.end, record.sequence + 1
        if not segment.is_torn(position):
            yield Damage(path.name, position, segment.size, 1)


class _Segment:
    """An open segment of the present format."""

    def __init__(self, file: BinaryIO, name: str, marker: bytes, fields_of: Fields) -> None:
        self._file, self._name, self._marker = file, name, marker
        self._fields_of = fields_of

    @property
    def size(self) -> int:
        """Bytes in the file now; the service may be appending."""
        return os.fstat(self._file.fileno()).st_size

    def record_at(self, position: int) -> Record | None:
        """The record that begins at `position`, if a whole one does."""
        head = self._head_at(position)
        if head is None:
            return None
        sequence, json_bytes, image_bytes, check = head
        text = self._file.read(json_bytes)
        offset = position + HEAD + json_bytes
        if checksum(text) != check or offset + image_bytes > self.size:
            return None
        fields = self._fields_of(text)
        if fields is None:
            return None
        return Record(self._name, position, offset, image_bytes, fields, sequence)

    def next_record(self, position: int) -> Record | None:
        """The first whole record that begins at `position` or behind it."""
        while True:
            self._file.seek(position)
            part = self._file.read(SEARCH_BYTES)
            place = part.find(self._marker)
            if place >= 0:
                if record := self.record_at(position + place):
                    return record
                position += place + 1
            elif len(part) < SEARCH_BYTES:
                return None
            else:
                position += len(part) - len(self._marker) + 1  # one may lie across two parts

    def is_torn(self, position: int) -> bool:
        """Whether what follows is the beginning of a record, or nothing: a write that was cut."""
        left = self.size - position
        self._file.seek(position)
        head = self._file.read(HEAD)
        if left < HEAD:
            return self._marker.startswith(head[: len(self._marker)])
        known = self._head_at(position)
        if known is None:
            return False
        _, json_bytes, image_bytes, check = known
        if left >= HEAD + json_bytes and checksum(self._file.read(json_bytes)) != check:
            return False
        return left < HEAD + json_bytes + image_bytes

    def _head_at(self, position: int) -> tuple[int, int, int, bytes] | None:
        """Sequence number, both lengths and the checksum of the JSON, if a sound header is there.

        Leaves the file at the JSON.
        """
        self._file.seek(position)
        head = self._file.read(HEAD)
        if len(head) < HEAD or not head.startswith(self._marker):
            return None
        _, sequence, json_bytes, image_bytes = HEADER.unpack_from(head)
        head_check, json_check = CHECKS.unpack_from(head, HEADER.size)
        if head_check != zlib.crc32(head[: HEADER.size]) or json_bytes > JSON_BYTES:
            return None
        return sequence, json_bytes, image_bytes, json_check


def _scan_old(file: BinaryIO, name: str, start: int) -> Iterator[Record | Damage]:
    """The records of a segment as version 0.1 wrote them: `<checksum> <JSON>` in a line, the image.

    They have no marker, so nothing behind a damaged one can be trusted.
    """
    position = start
    size = os.fstat(file.fileno()).st_size
    while position < size:
        file.seek(position)
        line = file.readline(JSON_BYTES)
        check, _, text = line.rstrip(b"\n").partition(b" ")
        whole = line.endswith(b"\n") and check == hashlib.sha256(text).hexdigest()[:16].encode()
        if not whole:
            if line.endswith(b"\n") or len(line) == JSON_BYTES or not _begins_old_header(line):
                yield Damage(name, position, size, 1)
            return
        fields = _fields(text, length=int)
        if fields is None or fields["length"] < 0:
            yield Damage(name, position, size, 1)
            return
        record = Record(name, position, file.tell(), fields.pop("length"), fields, 0)
        if record.end > size:
            return
        yield record
        position = record.end


def _fields(text: bytes, **more: type) -> dict[str, Any] | None:
    """The fields of a record; None where another program wrote them, whatever the checksum says."""
    try:
        fields = json.loads(text)
        for name in PACKED:
            base64.b64decode(fields.get(name) or "", validate=True)
        if not isinstance(fields.get("source"), str | None):
            return None
        numbers = [fields["confidence"], *fields["probabilities"]]
        fits = all(type(fields[name]) is kind for name, kind in {**FIELDS, **more}.items())
        if not fits or not all(type(one) is float and math.isfinite(one) for one in numbers):
            return None
        texts = [value for value in fields.values() if isinstance(value, str)]
        return fields if all(storable(one) == one for one in texts) else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _begins_old_header(line: bytes) -> bool:
    return bool(OLD_HEADER_START.match(line)) or len(line) < len(b"0123456789abcdef {")
