"""Maximum mean discrepancy: all permutations in one matrix product, block by block.

With K the kernel matrix of both samples, a permutation is a column z of zeros and ones (one: in the
window). z'Kz is the sum within the window and z'K1 the sum of its rows, so that one product K [z1
z2 ...] gives the statistic of every permutation. Blocks of rows bound the memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.watching.signals import Family, Signal, WatchPolicy, Window
from models.watching.views import (
    EMBEDDINGS,
    cannot_tell,
    compared,
    doubt,
    next_state,
    p_value_signal,
)

BLOCK = 512  # rows of the kernel matrix at a time
PERMUTATIONS = 999
BANDWIDTH_ROWS = 1000  # of the reference, of which the median distance is taken


@dataclass(frozen=True)
class Discrepancy:
    """The squared MMD, its p-value, and of each row of the window how much it adds."""

    squared: float
    p_value: float
    witness: np.ndarray


def mmd(
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """One signal on the embeddings."""
    if reason := doubt(reference, window, policy):
        unsure = [cannot_tell("mmd-embeddings", Family.INPUTS, window, state, reason)]
        return unsure, next_state(state, unsure)
    pair = compared(reference, window, policy, rng, views=(EMBEDDINGS,))[EMBEDDINGS]
    measured = mmd_test(pair.reference, pair.window, permutations=PERMUTATIONS, rng=rng)
    meaning = (
        f"the embeddings of {len(pair.window)} images are {max(measured.squared, 0) ** 0.5:.3f} "
        f"(MMD) from the reference's {len(pair.reference)}, p {measured.p_value:.2g}"
    )
    signal = p_value_signal(
        "mmd-embeddings", Family.INPUTS, pair, state,
        value=measured.squared, p_value=measured.p_value, meaning=meaning, moved=measured.witness,
    )  # fmt: skip
    return [signal], next_state(state, [signal])


def mmd_test(
    reference: np.ndarray,
    window: np.ndarray,
    *,
    permutations: int = PERMUTATIONS,
    rng: np.random.Generator,
) -> Discrepancy:
    """The unbiased squared MMD of a Gaussian kernel with a permutation test.

    The bandwidth is the median squared distance within the reference, as in Alibi Detect; the
    sample itself counts as one of the permutations.
    """
    rows = np.vstack([reference, window]).astype(np.float32)
    columns = np.empty((permutations + 1, len(rows)), np.float32)
    columns[0] = np.arange(len(rows)) >= len(reference)
    for column in range(1, permutations + 1):
        columns[column] = rng.permutation(columns[0])
    within, of_rows, total, nearness = _sums(rows, columns.T, _bandwidth(rows[: len(reference)]))
    past, new = len(reference), len(window)
    across = of_rows - within
    squared = (
        within / (new * (new - 1))
        + (total - 2 * across - within) / (past * (past - 1))
        - 2 * across / (past * new)
    )
    above = int((squared[1:] >= squared[0]).sum())
    to_window, to_all = nearness[past:].T
    witness = to_window / (new - 1) - (to_all - to_window) / past
    return Discrepancy(float(squared[0]), (above + 1) / (permutations + 1), witness)


def _sums(
    rows: np.ndarray, columns: np.ndarray, bandwidth: float
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Z'Kz and z'K1 of each column z, 1'K1, and of each row its sums over the window and all."""
    norms = (rows * rows).sum(axis=1)
    within = np.zeros(columns.shape[1])
    of_rows = np.zeros(columns.shape[1])
    nearness = np.empty((len(rows), 2))
    for start in range(0, len(rows), BLOCK):
        stop = min(start + BLOCK, len(rows))
        kernel = rows[start:stop] @ rows.T
        kernel *= 2
        kernel -= norms
        kernel -= norms[start:stop, None]
        np.minimum(kernel, 0, out=kernel)
        kernel /= bandwidth
        np.exp(kernel, out=kernel)
        kernel[np.arange(stop - start), np.arange(start, stop)] = 0
        sums, all_rows = kernel @ columns, kernel.sum(axis=1)
        within += (sums * columns[start:stop]).sum(axis=0, dtype=float)
        of_rows += all_rows @ columns[start:stop]
        nearness[start:stop] = np.column_stack([sums[:, 0], all_rows])
    return within, of_rows, float(nearness[:, 1].sum()), nearness


def _bandwidth(reference: np.ndarray) -> float:
    """The median squared distance between two rows; 1 where they are all equal."""
    few = reference[
        np.linspace(0, len(reference) - 1, min(len(reference), BANDWIDTH_ROWS)).astype(int)
    ]
    norms = (few * few).sum(axis=1)
    squared = np.maximum(norms[:, None] + norms - 2 * few @ few.T, 0)
    above = squared[np.triu_indices(len(few), 1)]
    median = float(np.median(above)) if len(above) else 0.0
    return median or 1.0
