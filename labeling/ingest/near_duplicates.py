"""Near-duplicates among samples: re-encoded, resized or slightly brightened copies share a group.

Candidates are neighbours in sorted orders, so that the work per sample is bounded however alike all
are: eight orders of a 64-bit hash, each beginning with another byte of it, and one that brings
identical thumbnails together. The 16x16 thumbnails decide.

The orders are kept in parts of falling size, each part sorted: what is new becomes a small part,
and a part that has grown to a quarter of the one before is merged with it. Parts are files that are
mapped into memory, so that a few new samples read a few pages of a large index.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np

from core.files import write_atomically

SIDE = 16  # of a thumbnail, see core.images
# RMS difference of two thumbnails at unit contrast. Copies are below 0.1; the nearest distinct
# image is above 0.19 for 999 in 1000 of CIFAR-10, above 0.12 for 999 in 1000 handwritten digits.
ALIKE = 0.12
FLAT = 8.0  # grey levels of contrast under which a thumbnail is flat: its noise is not stretched
SLIGHT = 0.5  # of the contrast: by how much copies may differ in brightness; flat ones by nothing
STEP = 2.0  # grey levels to the next cell that set a hash bit: noise in plain areas sets none
BITS = 12  # hash bits by which copies may differ
NEIGHBOURS = 32  # looked at on either side, in each order of each part
MERGED_FROM = 4  # a part is merged with the one before unless that is this many times as large
_BLOCK = 8192  # pairs compared at once
_WEIGHTS = np.random.default_rng(0).integers(2**63, size=SIDE * SIDE // 8, dtype=np.uint64)
_ROW = np.dtype([("sample_id", "S64"), ("thumbnail", np.uint8, SIDE * SIDE), ("hash", np.uint64)])
_MANIFEST = "parts.json"


@dataclass(frozen=True)
class _Part:
    """Samples, and the nine orders of them: for each the sorted keys, and the rows they are of."""

    rows: np.ndarray  # of _ROW
    keys: np.ndarray  # 9 x rows
    orders: np.ndarray  # 9 x rows
    name: str | None = None  # of its files

    @classmethod
    def of(cls, rows: np.ndarray) -> "_Part":
        """The part of these rows."""
        keys = np.stack(_keys(rows["thumbnail"], rows["hash"]))
        orders = np.argsort(keys, axis=1, kind="stable")
        return cls(rows, np.take_along_axis(keys, orders, axis=1), orders)

    def near(self, rows: np.ndarray, hashes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Pairs (a row of `rows`, a row here) that are neighbours in an order and have like hashes.

        `hashes` and `keys` (9 x rows) are those of `rows`.
        """
        steps = np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
        pairs = [np.empty((0, 2), np.int64)]
        for sorted_keys, order, own in zip(self.keys, self.orders, keys, strict=True):
            places = np.searchsorted(sorted_keys, own, side="right")[:, None] + steps
            which, step = np.nonzero((places >= 0) & (places < len(order)))
            there = order[places[which, step]]
            like = np.bitwise_count(hashes[which] ^ self.rows["hash"][there]) <= BITS
            pairs.append(np.stack([rows[which[like]], there[like]], axis=1))
        return np.unique(np.concatenate(pairs), axis=0)


class DamagedIndex(ValueError):
    """The files of an index are not what was written; it is to be made anew."""


class ThumbnailIndex:
    """The thumbnails of all samples, to search for near-duplicates of new ones."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self._parts)

    def remember(self, sample_ids: Sequence[str], thumbnails: Sequence[bytes]) -> None:
        """Add samples whose near-duplicates are known."""
        if len(sample_ids):
            self._append(_Part.of(_rows(sample_ids, thumbnails)))

    def add(self, sample_ids: Sequence[str], thumbnails: Sequence[bytes]) -> list[tuple[str, str]]:
        """Add new samples; return each pair of a new one and a near-duplicate of it.

        Files are not read whole when they are loaded: `DamagedIndex` says that they are damaged.
        """
        if not len(sample_ids):
            return []
        new = _Part.of(_rows(sample_ids, thumbnails))
        try:
            alike = self._alike(new)
        except (IndexError, ValueError, TypeError) as error:
            raise DamagedIndex(f"the index of thumbnails is damaged: {error}") from error
        self._append(new)
        return alike

    def _alike(self, new: _Part) -> list[tuple[str, str]]:
        alike: list[tuple[str, str]] = []
        for part in (*self._parts, new):
            pairs = self._candidates(new, part)
            for start in range(0, len(pairs), _BLOCK):
                one, other = pairs[start : start + _BLOCK].T
                same = _same(new.rows["thumbnail"][one], part.rows["thumbnail"][other])
                ids = (new.rows["sample_id"][one[same]], part.rows["sample_id"][other[same]])
                alike += [(a.decode(), b.decode()) for a, b in zip(*ids, strict=True)]
        return alike

    def save(self, folder: Path, version: str) -> None:
        """Write what is not in `folder` yet, for `load` with the same version."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(self._parts):
            if part.name is None:
                self._parts[number] = named = replace(part, name=uuid4().hex)
                for suffix, array in _arrays(named).items():
                    path = folder / f"{named.name}.{suffix}.npy"
                    write_atomically(path, partial(np.save, arr=array))
        names = [part.name for part in self._parts]
        write_atomically(
            folder / _MANIFEST, json.dumps({"version": version, "parts": names}).encode()
        )
        for path in (*folder.glob("*.npy"), *folder.glob(".*.part")):  # merged, or left by a kill
            if path.name.split(".")[0] not in names:
                path.unlink()

    @classmethod
    def load(cls, folder: Path, version: str) -> "ThumbnailIndex | None":
        """The index that was saved as this version; None where another one, or none, is there."""
        index = cls()
        try:
            manifest = json.loads((folder / _MANIFEST).read_bytes())
            if manifest["version"] != version:
                return None
            for name in manifest["parts"]:
                arrays = {
                    suffix: np.load(folder / f"{name}.{suffix}.npy", mmap_mode="r")
                    for suffix in ("rows", "keys", "orders")
                }
                index._parts.append(_Part(**arrays, name=name))
        except Exception:  # cut short, damaged or of another version: numpy raises a dozen types
            return None
        return index

    def _append(self, part: _Part) -> None:
        while self._parts and len(part.rows) * MERGED_FROM > len(self._parts[-1].rows):
            part = _Part.of(np.concatenate([self._parts.pop().rows, part.rows]))
        self._parts.append(part)

    def _candidates(self, new: _Part, part: _Part) -> np.ndarray:
        """Pairs (a row of `new`, another row of `part`) that may be near-duplicates."""
        rows = np.arange(len(new.rows))
        keys = np.stack(_keys(new.rows["thumbnail"], new.rows["hash"]))
        pairs = part.near(rows, new.rows["hash"], keys)
        return pairs[pairs[:, 0] != pairs[:, 1]] if part is new else pairs


def _arrays(part: _Part) -> dict[str, np.ndarray]:
    return {"rows": part.rows, "keys": part.keys, "orders": part.orders}


def _rows(sample_ids: Sequence[str], thumbnails: Sequence[bytes]) -> np.ndarray:
    rows = np.empty(len(sample_ids), _ROW)
    rows["sample_id"] = np.array(sample_ids, "S64")
    rows["thumbnail"] = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(rows), -1)
    rows["hash"] = _hashes(rows["thumbnail"])
    return rows


def join_groups(
    sample_ids: Sequence[str], alike: Sequence[tuple[str, str]], groups: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The groups of new samples, and the new names of older groups that changed theirs.

    `alike` are pairs of near-duplicates (`ThumbnailIndex.add`), and `groups` the present group of
    each older sample in them; one that is not there is gone and counts for nothing. A group is
    named by its smallest sample, and one that resembles two groups makes them one.
    """
    parents: dict[str, str] = {}

    def name_of(group: str) -> str:
        while group in parents:
            above = parents[group]
            parents[group] = parents.get(above, above)  # halve the way for the next
            group = above
        return group

    own = {sample_id: sample_id for sample_id in sample_ids}
    known = {**groups, **own}
    for one, other in alike:
        if one in known and other in known:
            names = sorted({name_of(known[one]), name_of(known[other])})
            if len(names) == 2:
                parents[names[1]] = names[0]
    renamed = {group: name_of(group) for group in parents if group not in own}
    return [name_of(sample_id) for sample_id in sample_ids], renamed


def strangers(sample_ids: Sequence[str], thumbnails: Sequence[bytes]) -> list[str]:
    """Those of a group of near-duplicates that resemble no other of it."""
    index = ThumbnailIndex()
    alike = {name for pair in index.add(sample_ids, thumbnails) for name in pair}
    return [sample_id for sample_id in sample_ids if sample_id not in alike]


def damage_of_index(
    folder: Path, version: str, thumbnails_of: Callable[[Sequence[str]], dict[str, bytes]]
) -> str | None:
    """What is wrong with the index that `load` takes for this version; None: nothing, or no index.

    `thumbnails_of` gives the thumbnails that samples have. A few rows are in memory at once.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        if manifest["version"] != version:
            return None  # older than the last intake: it is made anew
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{_MANIFEST} cannot be read ({error})"
    index = ThumbnailIndex.load(folder, version)
    if index is None:
        return "a file of it is missing or damaged"
    for part in index._parts:
        for start in range(0, len(part.rows), _BLOCK // 32):
            rows = np.asarray(part.rows[start : start + _BLOCK // 32])
            ids = [name.decode(errors="replace") for name in rows["sample_id"]]
            known = thumbnails_of(ids)
            if [known.get(one) for one in ids] != [row.tobytes() for row in rows["thumbnail"]]:
                return "it has other thumbnails than the samples"
            if not np.array_equal(rows["hash"], _hashes(rows["thumbnail"])):
                return "its hashes are not those of its thumbnails"
        if problem := _damage_of_orders(part):
            return problem
    return None


def drop_index(folder: Path) -> None:
    """Remove the index in `folder`: the next intake makes it anew from the samples."""
    for path in (folder / _MANIFEST, *folder.glob("*.npy")):
        path.unlink(missing_ok=True)


def _damage_of_orders(part: _Part) -> str | None:
    """Whether each order has every row once, by its key, ascending."""
    for number in range(len(part.keys)):
        counted = np.zeros(len(part.rows), bool)
        last = np.uint64(0)
        for start in range(0, len(part.rows), _BLOCK):
            order = np.asarray(part.orders[number, start : start + _BLOCK])
            keys = np.asarray(part.keys[number, start : start + _BLOCK])
            if order.min() < 0 or order.max() >= len(part.rows):
                return "an order names rows that it does not have"
            counted[order] = True
            rows = part.rows[order]
            wanted = _keys(rows["thumbnail"], rows["hash"])[number]
            if not np.array_equal(keys, wanted) or keys[0] < last or (keys[1:] < keys[:-1]).any():
                return "its keys are not in order"
            last = keys[-1]
        if not counted.all():
            return "an order leaves rows out"
    return None


def _same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether the thumbnails of each pair show the same picture."""
    one, other = one.astype(np.float32), other.astype(np.float32)
    darker = one.mean(axis=1) - other.mean(axis=1)
    one, contrast = _at_unit_contrast(one)
    other, _ = _at_unit_contrast(other)
    difference = np.sqrt(np.mean((one - other) ** 2, axis=1))
    return np.asarray((difference < ALIKE) & (np.abs(darker) < 1 + SLIGHT * contrast))


def _at_unit_contrast(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centred = thumbnails - thumbnails.mean(axis=1, keepdims=True)
    contrast = np.sqrt(np.mean(centred**2, axis=1))
    return centred / np.maximum(contrast, FLAT)[:, None], contrast


def _hashes(thumbnails: np.ndarray) -> np.ndarray:
    """64 bits per thumbnail: in 8 rows of 9 cells, whether the next cell is brighter."""
    rows = thumbnails.reshape(-1, 8, 2, SIDE).mean(axis=2, dtype=np.float32)
    bits = np.diff(rows @ _NINE, axis=2) > STEP
    return np.packbits(bits.reshape(-1, 64), axis=1).view(">u8").ravel().astype(np.uint64)


def _keys(thumbnails: np.ndarray, hashes: np.ndarray) -> list[np.ndarray]:
    """What each order sorts by: the thumbnail itself, then the hash with each byte in front."""
    turned = [
        hashes << np.uint64(bits) | hashes >> np.uint64(64 - bits) for bits in range(8, 64, 8)
    ]
    return [np.ascontiguousarray(thumbnails).view(np.uint64) @ _WEIGHTS, hashes, *turned]


def _nine_cells() -> np.ndarray:
    """Weights that average 16 columns into 9 of equal width."""
    edges = np.linspace(0, SIDE, 10)
    left, right = (
        np.maximum.outer(np.arange(SIDE), edges[:-1]),
        np.minimum.outer(np.arange(1, SIDE + 1), edges[1:]),
    )
    overlap = np.clip(right - left, 0, None)
    return (overlap / overlap.sum(axis=0)).astype(np.float32)


_NINE = _nine_cells()
