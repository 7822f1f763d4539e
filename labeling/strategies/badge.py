"""BADGE (Ash et al., 2020): uncertain rows that differ, by k-means++ on their gradients.

The gradient of the last layer, if the predicted class were right, is (probabilities - prediction)
outer embedding: long where the model is uncertain. It is never written out, because the product of
two of them is the product of their residuals times that of their embeddings. Nor is every distance
known at every draw: rows are proposed by distances that may be old, which bound the new ones from
above, and accepted with probability new / old. That draws exactly by the new ones.
"""

from dataclasses import dataclass, field

import numpy as np

from labeling.strategies.pool import Choice, Pool

BLOCK = 2048  # rows of one product
PROPOSALS = 1024  # rows whose distances are made new together
ROUNDING = 2.0**-18  # of a float32 distance, against the squares it is the difference of


def badge(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """Rows drawn by the squared distance of their gradients to those chosen; scores are distances.

    The first is the longest, as in the authors' code; it is where one answer teaches most. Exact
    in distribution. Rows left that have the gradient of a chosen one are drawn at random.
    """
    if pool.embeddings is None or pool.probs is None:
        raise ValueError("badge was given no probabilities or no embeddings; it needs both")
    free = pool.free
    size = min(size, len(free))
    draw = _Draw(pool.probs, pool.embeddings, free, size, rng)
    if size:
        draw.start()
    while len(draw.chosen) < size and draw.draw_block():
        pass
    draw.fill()
    return Choice(free[draw.chosen], np.array(draw.lengths))


@dataclass
class _Draw:
    """What was chosen, and for every free row a bound of its squared distance to the nearest.

    Rows are counted among the free ones.
    """

    probs: np.ndarray
    embeddings: np.ndarray
    free: np.ndarray
    size: int
    rng: np.random.Generator
    chosen: list[int] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    shortest: float = np.inf  # squared length of a chosen gradient, as far as seen

    def __post_init__(self) -> None:
        self.residuals = np.empty((self.size, self.probs.shape[1]), dtype=np.float32)
        self.centres = np.empty((self.size, self.embeddings.shape[1]), dtype=np.float32)
        self.squares = np.empty(len(self.free), dtype=np.float32)  # of the gradients' lengths
        self.bound = np.empty(len(self.free), dtype=np.float32)  # zero for those chosen
        self.met = np.zeros(len(self.free), dtype=np.int32)  # how many chosen are in the bound

    def start(self) -> None:
        """Choose the longest gradient."""
        for start in range(0, len(self.free), BLOCK):
            part = slice(start, start + BLOCK)
            residuals, rows = self.rows(part)
            squares = np.einsum("ij,ij->i", residuals, residuals) * np.einsum(
                "ij,ij->i", rows, rows
            )
            self.squares[part] = squares
        self.bound[:] = np.inf
        first = int(self.squares.argmax())
        self.take(first, float(self.squares[first]), *(part[0] for part in self.rows([first])))
        self.meet_all()

    def rows(self, which: np.ndarray | slice | list[int]) -> tuple[np.ndarray, np.ndarray]:
        """The residuals and the embeddings of rows: the two factors of their gradients."""
        residuals = np.array(self.probs[self.free[which]], dtype=np.float32)
        residuals[np.arange(len(residuals)), residuals.argmax(axis=1)] -= 1
        return residuals, np.asarray(self.embeddings[self.free[which]], dtype=np.float32)

    def take(self, row: int, square: float, residual: np.ndarray, embedding: np.ndarray) -> None:
        """Choose a row."""
        self.residuals[len(self.chosen)], self.centres[len(self.chosen)] = residual, embedding
        self.chosen.append(row)
        self.lengths.append(float(np.sqrt(square)))
        self.bound[row] = 0

    def meet_all(self) -> None:
        """Bring every bound up to date."""
        for start in range(0, len(self.free), BLOCK):
            part = np.arange(start, min(start + BLOCK, len(self.free)))
            self.meet(part, *self.rows(part))

    def meet(self, which: np.ndarray, residuals: np.ndarray, rows: np.ndarray) -> None:
        """Bring the bounds of some rows up to date."""
        new = slice(int(self.met[which].min()), len(self.chosen))
        if new.start == new.stop:
            return
        products = (residuals @ self.residuals[new].T) * (rows @ self.centres[new].T)
        apart = distances(self.squares[which], self.squares[self.chosen[new]], products)
        self.bound[which] = np.minimum(self.bound[which], apart.min(axis=1))
        self.met[which] = new.stop

    def draw_block(self) -> bool:
        """Propose rows and accept some; whether there was anything to propose."""
        self.meet_shortest()
        before, sums = len(self.chosen), np.cumsum(self.bound, dtype=np.float64)
        if sums[-1] <= 0:
            return False
        places = np.searchsorted(sums, self.rng.random(PROPOSALS) * sums[-1], side="right")
        lots = self.rng.random(PROPOSALS) * self.bound[places]
        self.accept(*np.unique(places, return_inverse=True), lots)
        if len(self.chosen) == before:
            self.meet_all()  # the old distances say too little
        return True

    def meet_shortest(self) -> None:
        """Lower every bound to the way over zero and from there to the shortest one chosen.

        In most pools most rows are certain: the first such choice is next to them all.
        """
        shortest = min(self.squares[row] for row in self.chosen)
        if shortest < self.shortest:
            self.shortest = shortest
            over = np.sqrt(self.squares) + np.sqrt(shortest)
            np.minimum(self.bound, over * over, out=self.bound)

    def accept(self, which: np.ndarray, order: np.ndarray, lots: np.ndarray) -> None:
        """Go through the proposals: choose those whose lot is under their distance by then."""
        residuals, rows = self.rows(which)
        self.meet(which, residuals, rows)
        squares, bound = self.squares[which], self.bound[which]
        for place, lot in zip(order, lots, strict=True):
            if lot < bound[place] and len(self.chosen) < self.size:
                self.take(int(which[place]), float(bound[place]), residuals[place], rows[place])
                products = (residuals @ residuals[place]) * (rows @ rows[place])
                bound = np.minimum(bound, distances(squares, squares[place], products))
                bound[place] = 0
        self.bound[which], self.met[which] = bound, len(self.chosen)

    def fill(self) -> None:
        """Choose by lot among those left."""
        left = np.ones(len(self.free), dtype=bool)
        left[self.chosen] = False
        missing = self.size - len(self.chosen)
        self.chosen += self.rng.permutation(np.flatnonzero(left))[:missing].tolist()
        self.lengths += [0.0] * missing


def distances(squares: np.ndarray, others: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Squared distances from squared lengths and products; 0 where it is only rounding."""
    both = squares[:, None] + others if products.ndim == 2 else squares + others
    apart = both - 2 * products
    apart[apart < ROUNDING * both] = 0
    return np.asarray(apart)
