"""What a strategy is, and the simplest of all."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labeling.strategies.pool import Choice, Pool


@dataclass(frozen=True)
class Strategy:
    """How a batch is chosen, and what of the pool it cannot do without."""

    choose: Callable[[Pool, int, np.random.Generator], Choice]
    needs: tuple[str, ...]  # names of Pool's arrays


def at_random(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """Each sample with the same chance."""
    rows = rng.permutation(pool.free)[:size]
    return Choice(rows, np.full(len(rows), np.nan))
