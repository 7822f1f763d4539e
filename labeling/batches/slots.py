"""The places of a batch while it is made up: what is taken, and what may still be taken."""

from dataclasses import dataclass, field

import numpy as np


class GroupLimit:
    """At most `most` rows of each group; `groups` has the number of each row's group."""

    def __init__(self, groups: np.ndarray, most: int) -> None:
        self.groups = groups
        self.left = np.full(int(groups.max(initial=-1)) + 1, most)

    def take(self, row: int) -> np.ndarray | None:
        """Count the row; return which rows are of a group that is full now, None if none is."""
        group = self.groups[row]
        self.left[group] -= 1
        return self.groups == group if self.left[group] == 0 else None

    @property
    def open(self) -> np.ndarray:
        """Which rows are of a group that is not full."""
        return self.left[self.groups] > 0


@dataclass(frozen=True)
class Pick:
    """A row that is in the batch, why, and how it was drawn where chance had a part."""

    row: int
    reason: str
    score: float = np.nan
    draw_probability: float = np.nan  # of this row at this draw
    draws_from: float = np.nan  # rows that were left at this draw


@dataclass
class BatchBuilder:
    """The rows in the batch so far, and which rows of the pool are `free` to come in.

    The `limits` hold for the free rows; what was taken before a limit ends counts.
    """

    size: int
    free: np.ndarray  # [n] bool
    limits: dict[str, GroupLimit] = field(default_factory=dict)
    taken: list[Pick] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Places that are not taken."""
        return self.size - len(self.taken)

    @property
    def rows(self) -> list[int]:
        """The rows taken, in their order."""
        return [pick.row for pick in self.taken]

    def take(self, pick: Pick) -> None:
        """Put a row in the batch; the rows of a group that is full now are free no more."""
        self.taken.append(pick)
        self.free[pick.row] = False
        for limit in self.limits.values():
            full = limit.take(pick.row)
            if full is not None:
                self.free[full] = False

    def fill_groups(self, name: str, rows: np.ndarray) -> None:
        """Count the groups of these rows (bool) as full in a limit."""
        limit = self.limits[name]
        limit.left[limit.groups[rows]] = 0
        self.free &= limit.open

    def drop(self, name: str) -> None:
        """End a limit; rows of a group that is full by another limit stay out."""
        del self.limits[name]
        self.free = np.ones(len(self.free), dtype=bool)
        self.free[self.rows] = False
        for limit in self.limits.values():
            self.free &= limit.open
