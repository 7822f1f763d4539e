"""Zeros in the places of images that are erased, in the files that had them."""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ZEROS = bytes(2**20)
WORTH_A_HOLE = 2**16  # bytes: ext4 takes milliseconds to make one
PUNCH_HOLE, KEEP_SIZE = 2, 1  # of Linux: give the space back, at the same length


def overwrite(path: Path, places: Sequence[tuple[int, int]]) -> None:
    """Put zeros in the places of images, and give back the space of large ones if the disk can.

    Making a hole waits for what is written there: so all is written, and synced once, before.
    """
    with path.open("r+b") as file:
        for offset, length in places:
            for start in range(0, length, len(ZEROS)):
                os.pwrite(file.fileno(), ZEROS[: length - start], offset + start)
        os.fsync(file.fileno())
        punch: Any = getattr(ctypes.CDLL(None), "fallocate", None)
        large = [one for one in places if one[1] >= WORTH_A_HOLE]
        if punch is None:
            return
        for offset, length in large:
            place = ctypes.c_int64(offset), ctypes.c_int64(length)
            punch(file.fileno(), PUNCH_HOLE | KEEP_SIZE, *place)  # zeros stay where it cannot


def has_bytes(file: int, offset: int, length: int) -> bool:
    """Whether anything but zeros is in a place of an open file."""
    return any(
        os.pread(file, min(len(ZEROS), length - start), offset + start).strip(b"\0")
        for start in range(0, length, len(ZEROS))
    )
