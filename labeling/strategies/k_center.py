"""The rows farthest from everything known: exact greedy k-center, without looking at every row.

A row's distance to its nearest centre only falls as centres come, so an old one is a bound from
above. Rows whose bound is under the farthest of the moment are left alone, which most are, most of
the time; the others meet the centres they have not met yet in blocks, one matrix product each, and
only until they drop out.
"""

from dataclasses import dataclass, field

import numpy as np

from labeling.strategies.pool import Choice, Pool

BLOCK = 1024  # rows of one product: 2 MB of 512 floats, what a core's cache holds
CHUNK = 128  # centres of one product: more would be met in vain, fewer make slow products
EARLY = 16  # centres that every row meets
MOST = 65_536  # rows brought up to date at once: bounds the memory
TIED = 1024  # rows of one float32 distance that are compared in float64
ROUNDING = 2.0**-19  # of a float32 distance, against the squares it is the difference of


def k_center(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """The row farthest from all that is labelled or chosen, again and again; scores are distances.

    Exactly the greedy order, equals by row. Where nothing is labelled the first is drawn. Rows
    nearer to a chosen one than float32 can tell come last, in their order.
    """
    if pool.embeddings is None:
        raise ValueError("k_center was given no embeddings; choose a strategy that needs none")
    free = pool.free
    size = min(size, len(free))
    centres, first = pool.labelled, []
    if size and (centres is None or not len(centres)):
        first = [int(rng.integers(len(free)))]
        centres = pool.embeddings[free[first]]
    if size == 0 or centres is None:
        return Choice(free[:0], np.zeros(0))
    cover = _Cover(pool.embeddings, free, np.asarray(centres, dtype=np.float32), size)
    cover.meet_first(first)
    while len(cover.chosen) < size and cover.is_telling():
        cover.choose_block()
    cover.fill()
    return Choice(free[cover.chosen], np.array(cover.radii))


@dataclass
class _Cover:
    """The centres, and for every free row a bound of its squared distance to the nearest one.

    Rows are counted among the free ones. Products are taken with centres less `origin`, so that
    embeddings far from zero lose no digits.
    """

    embeddings: np.ndarray
    free: np.ndarray
    given: np.ndarray  # the centres that are there from the start
    size: int
    chosen: list[int] = field(default_factory=list)
    radii: list[float] = field(default_factory=list)
    step: float = 0.5  # how far under the farthest bound to look, as a share of it

    def __post_init__(self) -> None:
        rows, width = len(self.free), self.embeddings.shape[1]
        self.origin = self.given.mean(axis=0)
        self.centres = np.empty((len(self.given) + self.size, width), dtype=np.float32)
        self.lengths = np.empty(len(self.centres), dtype=np.float32)
        self.count = 0
        self.bound = np.empty(rows, dtype=np.float32)  # never under the distance
        self.blur = np.empty(rows, dtype=np.float32)  # how far over it, when every centre was met
        self.squares = np.empty(rows, dtype=np.float32)  # distance to the origin
        self.met = np.zeros(rows, dtype=np.int32)  # centres in the bound: the first so many

    def meet_first(self, first: list[int]) -> None:
        """Let every row meet the first centres, the only time that all are read."""
        for row in self.given:
            self.add(row)
        early = min(self.count, EARLY)
        length = float(np.linalg.norm(self.origin))
        for start in range(0, len(self.free), BLOCK):
            part = slice(start, start + BLOCK)
            rows = self.rows(part)
            nearest = (self.lengths[:early] - 2 * (rows @ self.centres[:early].T)).min(axis=1)
            rows -= self.origin
            self.squares[part] = square = np.einsum("ij,ij->i", rows, rows)
            distance = np.maximum(square + nearest, 0)
            away = np.sqrt(square)
            blur = ROUNDING * ((away + length) ** 2 + (away + np.sqrt(distance)) ** 2)
            self.bound[part], self.blur[part] = distance + blur, blur
        self.met[:] = early
        if first:
            self.take(first[0], float(self.bound.max()))

    def rows(self, which: np.ndarray | slice) -> np.ndarray:
        """A copy of these rows."""
        return np.asarray(self.embeddings[self.free[which]], dtype=np.float32)

    def add(self, row: np.ndarray) -> None:
        """One more centre."""
        centre = row - self.origin
        self.centres[self.count] = centre
        self.lengths[self.count] = centre @ (centre + 2 * self.origin)
        self.count += 1

    def take(self, row: int, square: float) -> None:
        """Choose a row."""
        self.chosen.append(row)
        self.radii.append(float(np.sqrt(max(square, 0))))
        self.bound[row] = -np.inf

    def is_telling(self) -> bool:
        """Whether any row is farther from its centre than rounding."""
        return bool((self.bound > 2 * self.blur).any())

    def choose_block(self) -> None:
        """Choose among those with the highest bounds for as long as no other can be farther."""
        before = len(self.chosen)
        rows, floor = self.candidates()
        rows = self.meet(rows, floor)
        if len(rows):
            self.choose_among(rows, floor)
        if len(self.chosen) - before < 8:
            self.step = min(1.5 * self.step, 2.0)

    def candidates(self) -> tuple[np.ndarray, float]:
        """Rows with the highest bounds, and the most that any other can have.

        When more tie within rounding than are looked at, the first rows stand for them all.
        """
        highest = float(self.bound.max())
        while True:
            floor = highest - self.step * highest
            rows = np.flatnonzero(self.bound >= floor)
            if len(rows) <= MOST:
                return rows, floor
            rounding = 2 * float(self.blur[rows].max())
            if self.step * highest <= rounding:
                return rows[:MOST], floor - rounding
            self.step /= 2

    def meet(self, rows: np.ndarray, floor: float) -> np.ndarray:
        """Those of the rows that are still over the floor after meeting every centre."""
        turn = self.met[rows] // CHUNK
        left = rows[:0]
        for nth in range(int(turn.min()), self.count // CHUNK + 1):
            waiting = np.concatenate([left, rows[turn == nth]])
            for start in range(0, len(waiting), BLOCK):
                self.meet_chunk(waiting[start : start + BLOCK], min((nth + 1) * CHUNK, self.count))
            left = waiting[self.bound[waiting] >= floor]
        return np.sort(left)

    def meet_chunk(self, rows: np.ndarray, end: int) -> None:
        """Bring the bounds of some rows up to the centres before `end`."""
        start = int(self.met[rows].min())
        if start < end:
            near = self.lengths[start:end] - 2 * (self.rows(rows) @ self.centres[start:end].T)
            new = np.maximum(near.min(axis=1) + self.squares[rows], 0) + self.blur[rows]
            self.bound[rows] = np.minimum(self.bound[rows], new)
            self.met[rows] = end

    def choose_among(self, rows: np.ndarray, floor: float) -> None:
        """Choose among rows that have met every centre until one outside may be farther."""
        own, bound, blur = self.rows(rows), self.bound[rows], self.blur[rows]
        squares = self.squares[rows]
        while len(self.chosen) < self.size:
            sure = (bound - 2 * blur).max()
            if sure < floor:
                break
            near = np.flatnonzero(bound >= sure)
            best = near[0] if len(near) == 1 else self.farthest(near, own)
            self.take(int(rows[best]), float(bound[best] - blur[best]))
            self.add(own[best])
            centre = self.centres[self.count - 1]
            new = squares + (self.lengths[self.count - 1] - 2 * (own @ centre))
            np.minimum(bound, np.maximum(new, 0) + blur, out=bound)
            bound[best] = -np.inf
        self.bound[rows], self.met[rows] = bound, self.count

    def farthest(self, near: np.ndarray, own: np.ndarray) -> np.intp:
        """The first of the farthest rows, by distances in float64."""
        near = near[:TIED]
        rows = own[near].astype(np.float64)
        chosen = self.rows(np.array(self.chosen, dtype=np.int64))
        centres = np.concatenate([self.given, chosen]).astype(np.float64)
        middle = rows[0].copy()
        rows -= middle
        centres -= middle
        lengths = np.einsum("ij,ij->i", rows, rows)
        products = rows @ centres.T
        squares = (np.einsum("ij,ij->i", centres, centres) - 2 * products).min(axis=1) + lengths
        rounding = 2.0**-44 * (lengths.max() + squares.max())
        first: np.intp = near[np.argmax(squares >= squares.max() - rounding)]
        return first

    def fill(self) -> None:
        """Choose the first of the rows left, which are all copies of what is chosen."""
        left = np.ones(len(self.free), dtype=bool)
        left[self.chosen] = False
        for row in np.flatnonzero(left)[: self.size - len(self.chosen)]:
            self.take(int(row), 0.0)
