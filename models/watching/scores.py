"""Scores: numbers of each row that an accumulating test ranks among those of the reference.

They are fitted on the reference once: axes on a third of its rows, and cells of every score (ranges
of values, finer in the tails) on the others, so that new rows and those counted were treated alike.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from core.image_statistics import HALF, STATISTICS
from models.watching.class_mix import class_biases, label_shares
from models.watching.groups import group_weights
from models.watching.signals import Window

COMPONENTS = 12  # axes of the embeddings that are scores themselves
AXES = 24  # that distances are measured on
CLASSES = 10  # the most frequent ones, whose probability is a score
QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
MOST_FITTED = 1000  # rows that axes are fitted on, of a third of the reference
CELLS = len(QUANTILES) + 3  # with one below and one above all of the reference
DISTANCES = ("embedding distance", "nearest image", "outside of the axes")
CERTAINTY = ("confidence", "entropy", "margin")


@dataclass(frozen=True)
class Stratum:
    """Rows of the reference: of each class and score, how many lie in each cell."""

    counts: np.ndarray  # (classes, scores, cells), by weight
    rows: np.ndarray  # (classes, scores)
    pooled: np.ndarray  # (scores, cells): shares of all classes together
    ends: np.ndarray  # (scores, cells): one row below all and one above, which may come


@dataclass(frozen=True)
class Cells:
    """Ranges of the values of each score, as the reference divides them."""

    edges: np.ndarray  # (scores, CELLS - 1)
    limits: np.ndarray  # (scores,): how many edges a score has
    greatest: np.ndarray  # (scores,): value of the reference
    ties: np.ndarray  # (2, scores): one over the rows at its ends, and one

    @classmethod
    def of(cls, table: np.ndarray) -> "Cells":
        """The cells that these values divide, NaN being none."""
        edges = _edges(table)
        greatest = np.where(np.isnan(table), -np.inf, table).max(axis=0)
        ties = [1 / (1 + (table == end).sum(axis=0)) for end in (edges[:, 0], greatest)]
        return cls(edges, np.isfinite(edges).sum(axis=1), greatest, np.stack(ties))

    def places(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cell of each row and score, and whether the score is known of the row."""
        cells = np.empty(table.shape, np.intp)
        for column, edges in enumerate(self.edges):
            cells[:, column] = np.searchsorted(edges, table[:, column], side="right")
        return cells, np.isfinite(table)

    def counted(self, table: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By score how many rows, by weight, lie in each cell; and the cells, -1 where unknown.

        A row that equals an end of the reference lies beyond it by the share that a rank among
        the ties, drawn at random, would put it there.
        """
        cells, finite = self.places(table)
        counts = np.stack([
            np.bincount(column[known], weights[known], minlength=CELLS)
            for column, known in zip(cells.T, finite.T, strict=True)
        ])  # fmt: skip
        scores, last = np.arange(len(counts)), np.maximum(self.limits, 1)
        for end, here, values, share in (
            (0, 1, self.edges[:, 0], self.ties[0]), (last, last - 1, self.greatest, self.ties[1])
        ):  # fmt: skip
            tied = share * (weights @ (table == values))
            counts[scores, end] += tied
            counts[scores, here] -= tied
        return counts, np.where(finite, cells, -1)

    def strata(
        self, table: np.ndarray, counted: np.ndarray, parts: Mapping[str, np.ndarray],
        shares: np.ndarray,
    ) -> dict[str, Stratum]:  # fmt: skip
        """Of each part of the reference that has rows, how many lie where; shares by class."""
        cells, finite = self.places(table)
        return {
            name: _stratum(cells[rows], (counted & finite)[rows], shares[rows], self.limits)
            for name, rows in parts.items()
            if rows.any()
        }


@dataclass(frozen=True)
class Scores:
    """What was fitted on a reference."""

    names: tuple[str, ...]
    cells: Cells
    centre: np.ndarray
    axes: np.ndarray  # (width, AXES), scaled to a deviation of 1
    near: np.ndarray  # rows of the third, on the axes
    frequent: np.ndarray  # numbers of classes
    factors: np.ndarray  # of the probabilities of classes
    base: np.ndarray  # shares of the classes
    strata: Mapping[str, Stratum]  # "base", and "known" where there is a known drift
    third: np.ndarray  # numbers of the rows that axes were fitted on
    digest: str

    def counted(self, window: Window, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By score how many rows, by weight, lie in each cell; and the cells, -1 where unknown."""
        return self.cells.counted(self._table(window), weights)

    def _table(self, window: Window) -> np.ndarray:
        outputs = np.clip(np.asarray(window.outputs, np.float64), 1e-6, 1)
        ordered = np.sort(outputs, axis=1)
        second = ordered[:, -2] if ordered.shape[1] > 1 else np.zeros(len(ordered))
        entropy = -(outputs * np.log(outputs)).sum(axis=1)
        rows = window.embeddings - self.centre
        placed = rows @ self.axes
        lengths = (placed**2).sum(axis=1)
        crossed = lengths[:, None] + (self.near**2).sum(axis=1) - 2 * placed @ self.near.T
        columns = [
            np.asarray(window.statistics, np.float32).astype(HALF),
            placed[:, :COMPONENTS],
            lengths, crossed.min(axis=1), (rows**2).sum(axis=1),
            ordered[:, -1], entropy, ordered[:, -1] - second,
            outputs[:, self.frequent],
        ]  # fmt: skip
        return np.column_stack(columns).astype(np.float32)


def fit_scores(reference: Window) -> Scores:
    """Scores of a reference of three rows or more; its labels say how to weigh it by class."""
    shares = label_shares(reference.outputs, reference.labels)
    weights = group_weights(reference.groups)
    known = np.zeros(len(reference), bool) if reference.known is None else reference.known
    known = known & bool((~known).any())  # a reference of known rows only is the base itself
    base_rows = np.flatnonzero(~known)
    third = base_rows[
        np.random.default_rng(0).permutation(len(base_rows))[
            : min(len(base_rows) // 3, MOST_FITTED)
        ]
    ]
    embeddings = np.asarray(reference.embeddings[third], np.float32)
    centre, axes = _axes(embeddings)
    base = shares[base_rows].mean(axis=0)
    fitted = Scores(
        names=_names(axes.shape[1], np.argsort(-base)[:CLASSES]),
        cells=Cells.of(np.empty((1, 0), np.float32)),
        centre=centre,
        axes=axes,
        near=(embeddings - centre) @ axes,
        frequent=np.sort(np.argsort(-base, kind="stable")[:CLASSES]),
        factors=class_biases(reference.outputs[base_rows], shares[base_rows]),
        base=base,
        strata={},
        third=third,
        digest=_digest(reference),
    )
    table = fitted._table(reference)
    counted = np.ones(table.shape, bool)
    placed = min(COMPONENTS, axes.shape[1]) + len(DISTANCES)
    embedded = slice(len(STATISTICS), len(STATISTICS) + placed)
    counted[third, embedded] = False
    cells = Cells.of(np.where(counted & ~known[:, None], table, np.nan))
    parts = {"base": ~known, "known": known}
    strata = cells.strata(table, counted, parts, shares * weights[:, None])
    return replace(fitted, cells=cells, strata=strata)


def _names(components: int, frequent: np.ndarray) -> tuple[str, ...]:
    axes = [f"embedding axis {number + 1}" for number in range(min(COMPONENTS, components))]
    classes = [f"probability of class {number}" for number in np.sort(frequent)]
    return (*STATISTICS, *axes, *DISTANCES, *CERTAINTY, *classes)


def _axes(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the principal axes, scaled so that each has a deviation of 1."""
    centre = embeddings.mean(axis=0)
    rows = embeddings - centre
    number = max(min(AXES, len(rows) - 1, rows.shape[1]), 1)
    start = np.random.default_rng(0).normal(size=(rows.shape[1], number + 8)).astype(np.float32)
    for _ in range(3):  # of power iteration: the largest axes come out
        start, _ = np.linalg.qr(rows.T @ (rows @ start))
    _, lengths, turned = np.linalg.svd(rows @ start, full_matrices=False)
    number = min(number, len(lengths))
    spread = np.maximum(lengths[:number] / np.sqrt(max(len(rows) - 1, 1)), 1e-6)
    return centre, (start @ turned[:number].T) / spread


def _edges(table: np.ndarray) -> np.ndarray:
    """The limits of the cells: quantiles, and both ends of the reference."""
    edges = np.full((table.shape[1], CELLS - 1), np.inf, np.float32)
    for column, values in enumerate(table.T):
        there = values[np.isfinite(values)]
        if len(there):
            inner = np.quantile(there, QUANTILES, method="nearest")  # no cell is without a row
            above = np.nextafter(there.max(), np.float32(np.inf))
            limits = np.unique(np.r_[there.min(), inner, above].astype(np.float32))
            edges[column, : len(limits)] = limits
    return edges


def _stratum(
    cells: np.ndarray, counted: np.ndarray, shares: np.ndarray, limits: np.ndarray
) -> Stratum:
    scores, classes = cells.shape[1], shares.shape[1]
    counts = np.zeros((classes, scores, CELLS))
    for score in range(scores):
        rows = counted[:, score]
        for number in range(classes):
            counts[number, score] = np.bincount(
                cells[rows, score], shares[rows, number], minlength=CELLS
            )
    pooled = counts.sum(axis=0)
    ends = np.zeros((scores, CELLS))
    ends[:, 0] += 1
    ends[np.arange(scores), limits] += 1
    pooled = (pooled + ends) / (pooled + ends).sum(axis=1, keepdims=True)
    return Stratum(counts, counts.sum(axis=2), pooled, ends)


def _digest(reference: Window) -> str:
    parts = (reference.outputs, reference.embeddings, reference.statistics)
    hashed = hashlib.blake2b(digest_size=8)
    for part in parts:
        hashed.update(np.ascontiguousarray(part, np.float32).tobytes())
    for more in (reference.labels, reference.known, reference.groups):
        hashed.update(b"" if more is None else np.ascontiguousarray(more).tobytes())
    return hashed.hexdigest()
