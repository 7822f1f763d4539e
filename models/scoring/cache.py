"""A model's predictions by sample, stored on disk: no sample is scored twice by the same model."""

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.access import SHARED
from core.files import sync_path, write_atomically
from core.locks import LockBusy

ID = np.dtype("S32")  # the 32 bytes of a sample id; compared as bytes, trailing zeros and all
_ROWS = ("ids", "probs", "embeddings")  # a file of each, row i of sample i; probs: the outputs
_BLOCKS = "blocks"  # what counts: a record for each block whose rows are on the disk
_LOCK = "lock"  # held by whoever has the cache open; never removed
_PART = 1 << 20  # bytes of a file in memory at once
_RECORD = struct.Struct("<QIIII")  # rows so far; checksums of the block's three parts, and of these


class ScoreCache:
    """Outputs and embeddings by sample, memory-mapped; `open_cache` makes it.

    Rows are added in blocks and never changed. A block is there whole or not at all, whenever the
    process is killed. One process at a time may have it open.
    """

    def __init__(self, folder: Path, *, outputs: int, width: int, lock: int) -> None:
        self.folder, self.output_width, self.width = folder, outputs, width
        self._lock, self._blocks = lock, 0
        self._ids: np.ndarray = np.empty(0, ID)
        self._order: np.ndarray | None = None  # of the ids, made anew when it is asked for

    def __enter__(self) -> "ScoreCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def outputs(self) -> np.ndarray:
        """Float32 [n, numbers], mapped from the file and read-only; of embeddings alone [n, 0]."""
        return self._mapped("probs", self.output_width)

    @property
    def embeddings(self) -> np.ndarray:
        """Float32 [n, width], mapped from the file and read-only."""
        return self._mapped("embeddings", self.width)

    def rows_of(self, sample_ids: Sequence[str]) -> np.ndarray:
        """The row of each sample, -1 where it is not known yet."""
        return self._rows_of(_as_bytes(sample_ids))

    def missing(self, sample_ids: Sequence[str]) -> np.ndarray:
        """The positions in `sample_ids`, ascending, of those that are not known yet, each once."""
        wanted = _as_bytes(sample_ids)
        absent = np.flatnonzero(self._rows_of(wanted) < 0)
        return absent[np.sort(np.unique(wanted[absent], return_index=True)[1])]

    def append(
        self, sample_ids: Sequence[str], outputs: np.ndarray, embeddings: np.ndarray
    ) -> None:
        """Add a block of samples that are not there yet; when this returns it is on the disk.

        A cache without outputs stores the embeddings alone.
        """
        ids = _as_bytes(sample_ids)
        outputs = outputs if self.output_width else outputs[:, :0]
        self._check(ids, sample_ids, outputs, embeddings)
        if not len(ids):
            return
        parts = [
            ids,
            np.ascontiguousarray(outputs, np.float32),
            np.ascontiguousarray(embeddings, np.float32),
        ]
        sums = [zlib.crc32(part.view(np.uint8).data) for part in parts]
        for name, part in zip(_ROWS, parts, strict=True):
            _write(self.folder / name, part.tobytes(), at=len(self) * part.nbytes // len(part))
        record = _record(len(self) + len(ids), sums)
        _write(self.folder / _BLOCKS, record, at=self._blocks * _RECORD.size)
        self._ids, self._order = np.concatenate([self._ids, ids]), None
        self._blocks += 1

    def close(self) -> None:
        """Let another process have it; what was mapped stays readable."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _check(
        self, ids: np.ndarray, names: Sequence[str], outputs: np.ndarray, embeddings: np.ndarray
    ) -> None:
        shapes = (len(ids), self.output_width), (len(ids), self.width)
        if (outputs.shape, embeddings.shape) != shapes:
            raise ValueError(
                f"outputs {outputs.shape} and embeddings {embeddings.shape} of {len(ids)} "
                f"samples do not fit {self.folder}, which takes {shapes[0]} and {shapes[1]}"
            )
        again = np.flatnonzero(self._rows_of(ids) >= 0)
        if len(again) or len(np.unique(ids)) < len(ids):
            which = f"{names[int(again[0])]} is" if len(again) else "one stands twice or is"
            raise ValueError(f"{which} in {self.folder} already; append what `missing` names")
        if self._lock < 0:
            raise ValueError(f"{self.folder} was closed; open it again to append")

    def _rows_of(self, wanted: np.ndarray) -> np.ndarray:
        """The row of each id, -1 for unknown ones.

        Both sides are sorted first: in any other order a search misses the cache every time.
        """
        if self._order is None:
            self._order = np.argsort(self._ids, kind="stable")
        order, known = np.argsort(wanted, kind="stable"), self._ids[self._order]
        rows = np.full(len(wanted), -1, np.int64)
        if len(known):
            at = np.minimum(np.searchsorted(known, wanted[order]), len(known) - 1)
            rows[order] = np.where(known[at] == wanted[order], self._order[at], -1)
        return rows

    def _mapped(self, name: str, columns: int) -> np.ndarray:
        if not len(self) or not columns:
            return np.empty((len(self), columns), np.float32)
        return np.memmap(self.folder / name, np.float32, "r", shape=(len(self), columns))

    def _load(self) -> str | None:
        """Take over the blocks that are there; return what is damaged, if anything is.

        What was written after the last whole record belongs to a process that was killed: it is
        overwritten by the next block.
        """
        records = self._records()
        if problem := self._damage(records):
            return problem
        rows = records[-1][0] if records else 0
        self._ids, self._blocks = np.fromfile(self.folder / "ids", ID, rows), len(records)
        return None

    def _records(self) -> list[tuple[int, ...]]:
        content = (self.folder / _BLOCKS).read_bytes()
        whole = content[: len(content) // _RECORD.size * _RECORD.size]
        records = list(_RECORD.iter_unpack(whole))
        if records and not _is_whole(records[-1]):
            records.pop()  # a power cut wrote half of it
        return records

    def _damage(self, records: Sequence[tuple[int, ...]]) -> str | None:
        if not all(map(_is_whole, records)):
            return f"{_BLOCKS} is not what was written"
        bounds = [0, *(record[0] for record in records)]
        sizes = dict(zip(_ROWS, (ID.itemsize, 4 * self.output_width, 4 * self.width), strict=True))
        for name, size in sizes.items():
            if (self.folder / name).stat().st_size < bounds[-1] * size:
                return f"{name} is shorter than the {bounds[-1]} rows that were written"
        for number, record in enumerate(records):
            rows = bounds[number], bounds[number + 1]
            sums = [_sum(self.folder / name, *rows, size) for name, size in sizes.items()]
            if rows[1] <= rows[0] or tuple(sums) != record[1:4]:
                return f"block {number} is not what was written"
        return None


def open_cache(folder: Path, *, outputs: int, width: int, model: str = "") -> ScoreCache:
    """The cache in `folder`, or an empty one where there is none or it is of another model.

    One that is damaged, or that does not fit the outputs, the width and the `model` (any text that
    tells one model from another), is begun anew, and that is printed: it costs time, no round.
    `Busy` says that another process has it open; a process that died has not.
    """
    lock = _locked(folder)
    try:
        cache = ScoreCache(folder, outputs=outputs, width=width, lock=lock)
        shape = json.dumps({"classes": outputs, "width": width, "model": model}).encode()
        problem = _unfit(folder, shape) or cache._load()
        if problem:
            if problem != _NEW:
                print(f"the scores in {folder} are begun anew: {problem}")
            _begin(folder, shape)
    except BaseException:
        os.close(lock)
        raise
    return cache


def damage_of_cache(folder: Path) -> str | None:
    """What is wrong with the cache in `folder`; None: nothing, or there is none. It is not opened.

    A last record that is not whole is no damage: a process that was killed may have written it.
    """
    try:
        shape = json.loads((folder / "shape.json").read_bytes())
        outputs, width = int(shape["classes"]), int(shape["width"])
        cache = ScoreCache(folder, outputs=outputs, width=width, lock=-1)
        return cache._damage(cache._records())
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        return None if missing == "shape.json" else f"{missing} is not there"
    except (ValueError, KeyError, TypeError) as error:
        return f"shape.json cannot be read ({error})"


def forget_cache(folder: Path) -> bool:
    """Remove the cache in `folder`; False where another process has it open, and it stays.

    The lock file stays behind: with a new one in its place, two could hold the lock at once.
    """
    try:
        lock = _locked(folder)
    except LockBusy:
        return False
    try:
        for path in folder.iterdir():
            if path.name != _LOCK:
                path.unlink()
    finally:
        os.close(lock)
    return True


_NEW = "nothing is there yet"


def _unfit(folder: Path, shape: bytes) -> str | None:
    """Why what is in the folder is not a cache of this shape."""
    stored = folder / "shape.json"
    if not stored.is_file():
        return _NEW
    if stored.read_bytes() != shape:
        return f"they are of {stored.read_text(errors='replace')}, wanted is {shape.decode()}"
    absent = [name for name in (*_ROWS, _BLOCKS) if not (folder / name).is_file()]
    return f"{' and '.join(absent)} is not there" if absent else None


def _begin(folder: Path, shape: bytes) -> None:
    """New, empty files: whoever has the old ones mapped goes on reading those."""
    (folder / "shape.json").unlink(missing_ok=True)
    for name in (*_ROWS, _BLOCKS):
        (folder / name).unlink(missing_ok=True)
        (folder / name).touch()
    sync_path(folder)
    write_atomically(folder / "shape.json", shape)


def _locked(folder: Path) -> int:
    """The open lock file, held as long as it stays open: the kernel lets go for a dead process."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SHARED)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace") or "another process"
        os.close(lock)
        raise LockBusy(
            f"the scores in {folder} are open in process {holder}; wait for it, or end it"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _as_bytes(sample_ids: Sequence[str]) -> np.ndarray:
    try:
        ids = np.frombuffer(bytes.fromhex("".join(sample_ids)), ID)
    except ValueError:
        ids = np.empty(0, ID)
    if len(ids) != len(sample_ids) or any(len(name) != 64 for name in sample_ids):
        strange = next((name for name in sample_ids if not _is_id(name)), "")
        raise ValueError(f"{strange!r} is no sample id; one is the 64 hex digits of a SHA-256")
    return ids


def _is_id(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdefABCDEF")


def _record(rows: int, sums: Sequence[int]) -> bytes:
    return _RECORD.pack(rows, *sums, zlib.crc32(struct.pack("<QIII", rows, *sums)))


def _is_whole(record: Sequence[int]) -> bool:
    """Whether a record is one that was written."""
    return _record(record[0], record[1:4]) == _RECORD.pack(*record)


def _sum(path: Path, start: int, stop: int, size: int) -> int:
    """The checksum of some rows of a file."""
    left, checksum = max(0, stop - start) * size, 0
    with path.open("rb") as file:
        file.seek(start * size)
        while left and (part := file.read(min(left, _PART))):
            checksum, left = zlib.crc32(part, checksum), left - len(part)
    return checksum


def _write(path: Path, content: bytes, *, at: int) -> None:
    """Put the bytes at an offset, and on the disk; what lay behind them is cut off."""
    with path.open("r+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
