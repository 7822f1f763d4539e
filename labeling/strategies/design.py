"""Which labels tell most of the weights of linear models: a greedy choice by rank-one updates.

A model's weights are known with precision A, the sum of u x x' over what is labelled (and a ridge);
what they are wanted for is F, the same over what is to be predicted. A label of x lowers the
variance trace(A^-1 F) by u b / (1 + u a), with a = x' A^-1 x and b = x' A^-1 F A^-1 x (Sherman and
Morrison), and the a and b of another row y by s p p and 2 s p q: s = u / (1 + u a), p = y' A^-1 x
and q = y' (A^-1 F A^-1 x - s b A^-1 x / 2).
"""

from dataclasses import dataclass

import numpy as np

from labeling.strategies.kmeans import blocks

AHEAD = 32  # picks that are made among the best rows before all are looked at again
CELLS = 1 << 23  # numbers that this may take for each of two products: 32 MB
BEST = 2_048  # of these
ROUNDING = 1e-5  # of a gain in float32


@dataclass(frozen=True)
class Scale:
    """Where embeddings lie and how long they are, so that neither changes what a ridge does."""

    mean: np.ndarray  # [width]
    length: float

    @classmethod
    def of(cls, embeddings: np.ndarray) -> "Scale":
        """That of these: the root of the mean square distance to their mean is the length."""
        mean = embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(mean, float(np.sqrt(((embeddings - mean) ** 2).sum(axis=1).mean())) or 1.0)

    def points(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings about the mean in units of the length, and a one for the bias: float32."""
        points = np.ones((len(embeddings), len(self.mean) + 1), np.float32)
        np.subtract(embeddings, self.mean, out=points[:, :-1], casting="same_kind")
        points[:, :-1] /= self.length
        return points


@dataclass(frozen=True)
class _Pick:
    """A row that was taken: its gain, and for each model s and the two vectors of the update."""

    row: int
    gain: float  # times its worth; of the variance, not its share
    scale: np.ndarray  # [models]
    first: np.ndarray  # [models, width], A^-1 x
    second: np.ndarray  # [models, width], A^-1 F A^-1 x - s b A^-1 x / 2

    def products(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of every row with the two vectors: p and q, [n, models] each."""
        both = points @ np.concatenate([self.first, self.second]).astype(np.float32).T
        return both[:, : len(self.scale)], both[:, len(self.scale) :]


class Design:
    """Rows to choose from, and for each of one or several models what is known and wanted.

    `points` is [n, width], `weights` the u of every row [models, n], `known` and `wanted` are the A
    and F of every model [models, width, width]. `worth` [n] multiplies what a row gains.
    """

    def __init__(
        self,
        points: np.ndarray,
        weights: np.ndarray,
        known: np.ndarray,
        wanted: np.ndarray,
        worth: np.ndarray | None = None,
    ) -> None:
        self.worth = np.ones(len(points), np.float32) if worth is None else worth.astype(np.float32)
        self.points = points.astype(np.float32, copy=False)
        self.weights = weights.astype(np.float32, copy=False)
        self.inverse = np.linalg.inv(known.astype(np.float64))
        self.spread = self.inverse @ wanted @ self.inverse
        self.short = self._short()
        self.variance = float(np.einsum("kij,kji->", self.inverse, wanted))
        self.near = self._squares(self.inverse)  # the a of every row
        self.far = self._squares(self.spread)  # the b
        self.taken = np.zeros(len(points), bool)

    def choose(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the greedy choice in order, and the share of the variance each takes away.

        Many picks are made among the rows that gain most; then all rows are brought up to date, and
        the picks from the first on that another row would have been better than are made again.
        """
        picks: list[_Pick] = []
        size = min(size, len(self.points))
        ahead = min(max(CELLS // self.weights.size, 1), AHEAD)
        while len(picks) < size:
            picks += self._settle(self._among_best(min(ahead, size - len(picks))))
        gains = np.array([pick.gain for pick in picks])
        return np.array([pick.row for pick in picks], np.int64), gains / max(self.variance, 1e-300)

    def _squares(self, matrices: np.ndarray) -> np.ndarray:
        """The square x' M x for every model and row."""
        squares = np.empty((len(matrices), len(self.points)), np.float32)
        for model, matrix in enumerate(matrices.astype(np.float32)):
            for block in blocks(len(self.points), len(matrix)):
                points = self.points[block]
                squares[model, block] = np.einsum("ij,ij->i", points @ matrix, points)
        return squares

    def _among_best(self, count: int) -> list[_Pick]:
        """Picks of the greedy choice among the `BEST` rows that gain most now."""
        gains = self.worth * _gains(self.weights, self.near, self.far)
        gains[self.taken] = -np.inf
        rows, best = np.arange(len(gains)), max(BEST, count)
        if len(rows) > best:
            rows = np.sort(np.argpartition(-gains, best)[:best])
        points, weights, gains = self.points[rows], self.weights[:, rows], gains[rows]
        near, far = self.near[:, rows], self.far[:, rows]
        picks: list[_Pick] = []
        while True:
            best = int(gains.argmax())
            picks.append(self._pick(int(rows[best]), picks))
            if len(picks) == count:
                return picks
            near, far = _after(picks[-1], near, far, *picks[-1].products(points))
            taken = np.isneginf(gains)
            gains = self.worth[rows] * _gains(weights, near, far)
            gains[taken] = gains[best] = -np.inf

    def _pick(self, row: int, before: list[_Pick]) -> _Pick:
        """The row after those `before`, of which the matrices know nothing yet."""
        point = self.points[row].astype(self.short.dtype)
        first, second = (self.short @ point).astype(np.float64)
        for pick in before:
            near, far = pick.scale * (pick.first @ point), pick.scale * (pick.second @ point)
            first -= near[:, None] * pick.first
            second -= far[:, None] * pick.first + near[:, None] * pick.second
        weight = self.weights[:, row].astype(np.float64)
        scale, far = weight / (1 + weight * (first @ point)), second @ point
        second -= (scale * far / 2)[:, None] * first
        return _Pick(row, float(self.worth[row] * (scale @ far)), scale, first, second)

    def _settle(self, picks: list[_Pick]) -> list[_Pick]:
        """The picks up to the first that another row would have been better than, for good."""
        width = self.points.shape[1]
        first = np.stack([pick.first for pick in picks], axis=1).astype(np.float32)
        second = np.stack([pick.second for pick in picks], axis=1).astype(np.float32)
        near = self.points @ first.reshape(-1, width).T
        far = self.points @ second.reshape(-1, width).T
        for number, pick in enumerate(picks):
            if number:
                gains = self.worth * _gains(self.weights, self.near, self.far)
                gains[self.taken] = -np.inf
                if gains.max() > pick.gain * (1 + ROUNDING):
                    picks = picks[:number]
                    break
            step = slice(number, None, first.shape[1])
            self.near, self.far = _after(pick, self.near, self.far, near[:, step], far[:, step])
            self.taken[pick.row] = True
        scaled = np.stack([pick.scale[:, None] * pick.first for pick in picks], axis=2)
        self.inverse -= scaled @ np.stack([pick.first for pick in picks], axis=1)
        cross = scaled @ np.stack([pick.second for pick in picks], axis=1)
        self.spread -= cross + cross.transpose(0, 2, 1)
        self.short = self._short()
        return picks

    def _short(self) -> np.ndarray:
        """Both matrices, as they are read for every pick: those of several models as float32."""
        both = np.stack([self.inverse, self.spread])
        return both if len(self.inverse) == 1 else both.astype(np.float32)


def _gains(weights: np.ndarray, near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """What a label of every row lowers the variance by, over all models."""
    return np.asarray((weights * far / (1 + weights * near)).sum(axis=0))


def _after(
    pick: _Pick, near: np.ndarray, far: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The a and b [models, n] once this row is taken; the products are those of its vectors."""
    scale = pick.scale.astype(np.float32)[:, None]
    turned = first.T
    near = near - scale * turned**2
    far = far - 2 * scale * turned * second.T
    return np.maximum(near, 0), np.maximum(far, 0)
