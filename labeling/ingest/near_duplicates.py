"""Near-duplicates among samples: re-encoded, resized or slightly brightened copies share a group.

Candidates are neighbours in sorted orders, so that the work per sample is bounded however alike all
are: eight orders of a 64-bit hash, each beginning with another byte of it, and one that brings
identical looks together. The 16x16 looks decide.
"""

from collections.abc import Sequence

import numpy as np

SIDE = 16  # of a look, see core.images
# RMS difference of two looks at unit contrast. Copies are below 0.1; the nearest distinct image is
# above 0.19 for 999 in 1000 of CIFAR-10, above 0.12 for 999 in 1000 handwritten digits of 8x8.
ALIKE = 0.12
FLAT = 8.0  # grey levels of contrast under which a look is flat: its noise must not be stretched
SLIGHT = 0.5  # of the contrast: by how much copies may differ in brightness; flat ones by nothing
STEP = 2.0  # grey levels to the next cell that set a hash bit: noise in plain areas sets none
BITS = 12  # hash bits by which copies may differ
NEIGHBOURS = 32  # looked at on either side, in each order
_BLOCK = 8192  # pairs compared at once
_WEIGHTS = np.random.default_rng(0).integers(2**63, size=SIDE * SIDE // 8, dtype=np.uint64)


class Lookalikes:
    """All samples seen so far and their groups; a group is named by its smallest sample_id."""

    def __init__(self) -> None:
        self._groups: list[str] = []  # by row, as it was when the row came
        self._parents: dict[str, str] = {}  # names of groups that became part of another
        self._looks = np.empty((0, SIDE * SIDE), np.uint8)
        self._hashes = np.empty(0, np.uint64)
        self._orders = [(np.empty(0, np.uint64), np.empty(0, np.int64)) for _ in range(9)]

    def __len__(self) -> int:
        return len(self._groups)

    def remember(self, group_ids: Sequence[str], looks: Sequence[bytes]) -> None:
        """Take in samples whose groups are known."""
        self._insert(group_ids, looks)

    def add(
        self, sample_ids: Sequence[str], looks: Sequence[bytes]
    ) -> tuple[list[str], dict[str, str]]:
        """The groups of new samples, and the new names of older groups that changed theirs.

        A sample that resembles two groups makes them one.
        """
        rows = self._insert(sample_ids, looks)
        absorbed = []
        for one, other in self._alike(rows):
            names = sorted({self._name(self._groups[one]), self._name(self._groups[other])})
            if len(names) == 2:
                self._parents[names[1]] = names[0]
                absorbed.append(names[1])
        fresh = set(sample_ids)
        renamed = {name: self._name(name) for name in absorbed if name not in fresh}
        return [self._name(sample_id) for sample_id in sample_ids], renamed

    def _name(self, group: str) -> str:
        while group in self._parents:
            above = self._parents[group]
            self._parents[group] = self._parents.get(above, above)  # halve the way for the next
            group = above
        return group

    def _insert(self, groups: Sequence[str], looks: Sequence[bytes]) -> np.ndarray:
        """Put the looks into every order; return their row numbers."""
        fresh = np.frombuffer(b"".join(looks), np.uint8).reshape(len(groups), SIDE * SIDE)
        rows = np.arange(len(self), len(self) + len(groups))
        hashes = _hashes(fresh)
        self._groups += groups
        self._looks = np.concatenate([self._looks, fresh])
        self._hashes = np.concatenate([self._hashes, hashes])
        for number, fresh_keys in enumerate(_keys(fresh, hashes)):
            keys, order = self._orders[number]
            by_key = np.argsort(fresh_keys, kind="stable")
            at = np.searchsorted(keys, fresh_keys[by_key], side="right")
            self._orders[number] = (
                np.insert(keys, at, fresh_keys[by_key]),
                np.insert(order, at, rows[by_key]),
            )
        return rows

    def _alike(self, rows: np.ndarray) -> np.ndarray:
        """Pairs of rows, one of them in `rows`, whose looks are the same picture."""
        pairs = self._candidates(rows)
        kept = [self._same(block) for block in np.split(pairs, range(_BLOCK, len(pairs), _BLOCK))]
        return pairs[np.concatenate(kept)]

    def _candidates(self, rows: np.ndarray) -> np.ndarray:
        is_new = np.zeros(len(self), bool)
        is_new[rows] = True
        found = []
        for _, order in self._orders:
            places = np.flatnonzero(is_new[order])
            for step in (*range(-NEIGHBOURS, 0), *range(1, NEIGHBOURS + 1)):
                inside = places[(places + step >= 0) & (places + step < len(order))]
                one, other = order[inside], order[inside + step]
                near = np.bitwise_count(self._hashes[one] ^ self._hashes[other]) <= BITS
                one, other = one[near], other[near]
                found.append(np.minimum(one, other) * len(self) + np.maximum(one, other))
        return np.stack(np.divmod(np.unique(np.concatenate(found)), len(self)), axis=1)

    def _same(self, pairs: np.ndarray) -> np.ndarray:
        one, other = (self._looks[rows].astype(np.float32) for rows in pairs.T)
        darker = one.mean(axis=1) - other.mean(axis=1)
        one, contrast = _at_unit_contrast(one)
        other, _ = _at_unit_contrast(other)
        difference = np.sqrt(np.mean((one - other) ** 2, axis=1))
        return (difference < ALIKE) & (np.abs(darker) < 1 + SLIGHT * contrast)


def _at_unit_contrast(looks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centred = looks - looks.mean(axis=1, keepdims=True)
    contrast = np.sqrt(np.mean(centred**2, axis=1))
    return centred / np.maximum(contrast, FLAT)[:, None], contrast


def _hashes(looks: np.ndarray) -> np.ndarray:
    """64 bits per look: in 8 rows of 9 cells, whether the next cell is brighter."""
    rows = looks.reshape(-1, 8, 2, SIDE).mean(axis=2, dtype=np.float32)
    bits = np.diff(rows @ _NINE, axis=2) > STEP
    return np.packbits(bits.reshape(-1, 64), axis=1).view(">u8").ravel().astype(np.uint64)


def _keys(looks: np.ndarray, hashes: np.ndarray) -> list[np.ndarray]:
    """What each order sorts by: the looks themselves, then the hash with each byte in front."""
    turned = [
        hashes << np.uint64(bits) | hashes >> np.uint64(64 - bits) for bits in range(8, 64, 8)
    ]
    return [np.ascontiguousarray(looks).view(np.uint64) @ _WEIGHTS, hashes, *turned]


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
