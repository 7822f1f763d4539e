"""Near-duplicates that were cropped, shifted or squeezed: features find them, thumbnails decide.

The index of thumbnails (`near_duplicates`) compares cell by cell, so that it misses an image that
was cropped or shifted. Here the images nearest by features are the candidates, and the thumbnail of
each is moved and scaled until it fits best. How well distinct images fit depends on the data (two
shirts do, two photos do not), so a copy also has to fit far better than the candidates after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from labeling.ingest.near_duplicates import FLAT, SIDE, SLIGHT

FITS = 0.3  # RMS difference at unit contrast, at most; see benchmarks/near_copies.py
FAR_BETTER = 0.3  # of the median of the farther half of the candidates, its own and all, at most
# Images among which copies are looked for, at least: among 25 to 100 handwritten digits one in ten
# was taken for a copy, because no other of its kind was among the candidates; among 400 none.
FEWEST = 1_000
NEAREST = 20  # candidates by features; a copy is among the first five in 98 of 100
STARTS = (0.0, -0.15, 0.18)  # relative scales from which the fit begins
STEPS = 10  # of Gauss and Newton, from each start
LEAST_OVERLAP = 0.5  # of the area, and the scale changes by half at most: else anything fits
FARTHEST = 0.5
LONGEST_STEP = 0.15
DAMPING = 1e-3
CONTRASTS = 1.5  # times: by how much copies may differ in contrast
_AT_ONCE = 1024  # pairs compared together
_NUMBERS = 2**26  # of a block of similarities
_NONE = np.float32(9)  # the difference of a fit that is not allowed


def aligned_copies(
    features: np.ndarray,
    rows: np.ndarray,
    thumbnails_of: Callable[[np.ndarray], Sequence[bytes]],
) -> list[tuple[int, int]]:
    """Pairs (one of `rows`, a copy of it among all rows), by their features and thumbnails.

    `thumbnails_of` gives those of an array of rows. Among fewer than FEWEST there are no pairs:
    too few show how well distinct images fit. The cost is that of comparing `rows` with all
    features; the numbers of thumbnails and fits depend on `rows` alone.
    """
    if len(features) < max(FEWEST, NEAREST + 1) or not len(rows):
        return []
    near = nearest_rows(features, rows, NEAREST)
    used, places = np.unique(np.concatenate([rows, near.ravel()]), return_inverse=True)
    pictures = np.frombuffer(b"".join(thumbnails_of(used)), np.uint8).reshape(-1, SIDE, SIDE)
    ours, theirs = np.repeat(places[: len(rows)], NEAREST), places[len(rows) :]
    fits = [
        fitted_difference(pictures[ours[start:][:_AT_ONCE]], pictures[theirs[start:][:_AT_ONCE]])
        for start in range(0, len(ours), _AT_ONCE)
    ]
    differences = np.concatenate(fits).reshape(near.shape)
    usual = np.median(differences[:, NEAREST // 2 :], axis=1)
    usual = np.minimum(usual, np.median(usual))  # one odd image is not what distinct images are
    is_copy = differences < np.minimum(FITS, FAR_BETTER * usual)[:, None]
    return [(int(rows[row]), int(near[row, place])) for row, place in np.argwhere(is_copy)]


def nearest_rows(features: np.ndarray, rows: np.ndarray, most: int) -> np.ndarray:
    """For each of `rows` the other rows most like it by cosine, the likest first; [rows, most].

    There must be more than `most` rows. A block of the features is in memory at a time.
    """
    wanted = _directions(features[rows])
    best = np.full((len(rows), most), -np.inf, np.float32)
    nearest = np.zeros((len(rows), most), np.int64)
    step = max(most, _NUMBERS // max(len(rows), features.shape[1]))
    for start in range(0, len(features), step):
        block = np.arange(start, min(start + step, len(features)))
        alike = wanted @ _directions(features[block]).T
        alike[rows[:, None] == block] = -np.inf
        both = np.concatenate([best, alike], axis=1)
        places = np.concatenate([nearest, np.broadcast_to(block, alike.shape)], axis=1)
        order = np.argpartition(-both, most - 1, axis=1)[:, :most]
        best, nearest = (np.take_along_axis(part, order, axis=1) for part in (both, places))
    return np.take_along_axis(nearest, np.argsort(-best, axis=1, kind="stable"), axis=1)


def are_aligned(thumbnail: bytes, others: Sequence[bytes]) -> bool:
    """Whether the thumbnail fits one of the others as that of a copy does."""
    if not others:
        return False
    ours, theirs = (
        np.frombuffer(part, np.uint8).reshape(-1, SIDE, SIDE)
        for part in (thumbnail * len(others), b"".join(others))
    )
    return bool((fitted_difference(ours, theirs) < FITS).any())


def fitted_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The RMS difference of each pair at unit contrast, `other` moved and scaled to fit `one` best.

    Where brightness or contrast differ too much, or one is flat, it is at least 9.
    """
    one, other = one.astype(np.float32), other.astype(np.float32)
    least = np.full(len(one), _NONE)
    for scale in STARTS:
        moves = np.tile(np.array([scale, 0, scale, 0], np.float32), (len(one), 1))
        best = np.full(len(one), _NONE)
        for _ in range(STEPS):
            fit = _Fit.of(one, other, moves)
            best = np.minimum(best, fit.difference)
            moves = moves + fit.step()
        least = np.minimum(least, best)
    return least


@dataclass(frozen=True)
class _Fit:
    """How well the moved thumbnails fit, and how that changes with the moves.

    A move is (width - 1, shift right, height - 1, shift down) of the part that is looked at, in
    halves of the side.
    """

    difference: np.ndarray  # [n], _NONE where the move is not allowed
    allowed: np.ndarray
    errors: np.ndarray  # [n, cells]
    slopes: np.ndarray  # [n, cells, 4]

    @classmethod
    def of(cls, one: np.ndarray, other: np.ndarray, moves: np.ndarray) -> "_Fit":
        across, across_slope, has_column = _samplers(moves[:, 0], moves[:, 1])
        down, down_slope, has_row = _samplers(moves[:, 2], moves[:, 3])
        columns = other @ across.transpose(0, 2, 1)
        moved = down @ columns
        inside = (has_row[:, :, None] & has_column[:, None, :]).astype(np.float32)
        ours, our_contrast, our_mean = _at_unit_contrast(one, inside)
        theirs, contrast, mean = _at_unit_contrast(moved, inside)
        errors = ours - theirs
        cells = np.maximum(inside.sum(axis=(1, 2)), 1)
        right, below = down @ (other @ across_slope.transpose(0, 2, 1)), down_slope @ columns
        grid = _grid()
        slopes = np.stack([right * grid, right, below * grid[:, None], below], axis=3)
        slopes *= (inside / np.maximum(contrast, FLAT)[:, None, None])[..., None]
        slopes -= (slopes.sum(axis=(1, 2)) / cells[:, None])[:, None, None] * inside[..., None]
        ratio = contrast / np.maximum(our_contrast, 1e-6)
        allowed = (cells >= LEAST_OVERLAP * SIDE**2) & (
            np.abs(moves[:, [0, 2]]).max(axis=1) <= FARTHEST
        )
        alike = (np.abs(our_mean - mean) < 1 + SLIGHT * our_contrast) & (
            (np.minimum(our_contrast, contrast) >= FLAT)
            & (ratio < CONTRASTS)
            & (ratio > 1 / CONTRASTS)
        )
        difference = np.sqrt((errors**2).sum(axis=(1, 2)) / cells)
        return cls(
            np.where(allowed & alike, difference, _NONE),
            allowed,
            errors.reshape(len(one), -1),
            slopes.reshape(len(one), -1, 4),
        )

    def step(self) -> np.ndarray:
        """The change of each move after which the difference is least, if it were linear."""
        turned = self.slopes.transpose(0, 2, 1)
        normal = turned @ self.slopes
        trace = np.trace(normal, axis1=1, axis2=2)[:, None, None] / 4
        normal += np.eye(4, dtype=np.float32) * (DAMPING * trace + 1e-6)
        step = np.linalg.solve(normal, turned @ self.errors[..., None])[..., 0]
        return np.where(self.allowed[:, None], np.clip(step, -LONGEST_STEP, LONGEST_STEP), 0)


def _grid() -> np.ndarray:
    """The centres of the cells along a side that goes from -1 to 1."""
    return ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1).astype(np.float32)


def _samplers(scale: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices [n, SIDE, SIDE] that sample a line at moved cells, their slopes, what is inside."""
    place = ((1 + scale[:, None]) * _grid() + shift[:, None] + 1) / 2 * SIDE - 0.5
    inside = (place >= -0.5) & (place <= SIDE - 0.5)
    place = np.clip(place, 0, SIDE - 1)
    low = np.minimum(place.astype(np.int64), SIDE - 2)
    matrices, slopes = np.zeros((2, len(scale), SIDE, SIDE), np.float32)
    pair, cell = np.arange(len(scale))[:, None], np.arange(SIDE)
    matrices[pair, cell, low], matrices[pair, cell, low + 1] = 1 - (place - low), place - low
    slopes[pair, cell, low], slopes[pair, cell, low + 1] = -SIDE / 2, SIDE / 2
    return matrices, slopes, inside


def _at_unit_contrast(
    pictures: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pictures with mean zero and contrast one over what is inside, their contrasts, means."""
    cells = np.maximum(inside.sum(axis=(1, 2)), 1)
    mean = (pictures * inside).sum(axis=(1, 2)) / cells
    centred = (pictures - mean[:, None, None]) * inside
    contrast = np.sqrt((centred**2).sum(axis=(1, 2)) / cells)
    return centred / np.maximum(contrast, FLAT)[:, None, None], contrast, mean


def _directions(features: np.ndarray) -> np.ndarray:
    rows = np.asarray(features, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
