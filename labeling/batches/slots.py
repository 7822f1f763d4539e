"""The places of a batch as they fill: what is taken, and what may still be taken."""

from dataclasses import dataclass, field

import numpy as np


class GroupLimit:
    """At most so many of each kind; `kinds` has the number of each row's kind."""

    def __init__(self, kinds: np.ndarray, most: int) -> None:
        self.kinds = kinds
        self.left = np.full(int(kinds.max(initial=-1)) + 1, most)

    def take(self, row: int) -> np.ndarray | None:
        """Count the row; return which rows are of a kind that is full now, None if none is."""
        kind = self.kinds[row]
        self.left[kind] -= 1
        return self.kinds == kind if self.left[kind] == 0 else None

    @property
    def open(self) -> np.ndarray:
        return self.left[self.kinds] > 0


@dataclass(frozen=True)
class Pick:
    """A row that is in the batch, why, and how it was drawn where chance had a part."""

    row: int
    reason: str
    score: float = np.nan
    inclusion_probability: float = np.nan  # of audit samples: over the whole draw
    draw_probability: float = np.nan  # of this row at this draw
    draws_from: float = np.nan  # rows that were left at this draw


@dataclass
class BatchBuilder:
    """Who is in the batch, and which rows of the pool are `free` to come in.

    `caps` are promises that hold for the free rows; what was taken before one ends counts.
    """

    size: int
    free: np.ndarray  # [n] bool
    caps: dict[str, GroupLimit] = field(default_factory=dict)
    taken: list[Pick] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.size - len(self.taken)

    @property
    def rows(self) -> list[int]:
        return [one.row for one in self.taken]

    def take(self, one: Pick) -> None:
        """Put a row in the batch; what it closes is free no more."""
        self.taken.append(one)
        self.free[one.row] = False
        for cap in self.caps.values():
            full = cap.take(one.row)
            if full is not None:
                self.free[full] = False

    def drop(self, name: str, never: np.ndarray) -> None:
        """Give up a cap; rows that are `never` to be taken, or full by another cap, stay out."""
        del self.caps[name]
        self.free = ~never
        self.free[self.rows] = False
        for cap in self.caps.values():
            self.free &= cap.open
