"""The part of a loss of accuracy that confidence does not see, learned from corrupted copies.

Of each kind of corruption it is known how far accuracy fell and how far the confidence said it did.
What it does not see is taken as a share of what it sees (`extra`), uncertain by `error`, and a rest
that comes by itself, the larger the further the images have moved.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

EXTRA = 0.3  # before copies tell: .8 on photographs, -.2 on drawings of clothes
EXTRA_ERROR = 0.6
ROUNDS = 5  # of share and rest by turns


@dataclass(frozen=True)
class Copies:
    """Corrupted copies of rows of the reference, as the model predicts them; by kind."""

    rows: np.ndarray  # which rows of the reference they are copies of
    outputs: Mapping[str, np.ndarray]  # each (rows, classes)
    embeddings: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Unseen:
    """What confidence does not see of a loss."""

    extra: float = EXTRA
    error: float = EXTRA_ERROR
    rest: float = 0.0  # variance of the rest, of a window that has moved by 1

    @classmethod
    def learned(
        cls, shown: np.ndarray, real: np.ndarray, noise: np.ndarray, moved: np.ndarray
    ) -> "Unseen":
        """From kinds of corruption: two losses, the variance of their difference, the movement."""
        missed, rest = real - shown, 0.0
        prior = 1 / EXTRA_ERROR**2
        for _ in range(ROUNDS):
            weights = 1 / (noise + rest * moved + 1e-9)
            precision = prior + (weights * shown**2).sum()
            extra = float((EXTRA * prior + (weights * shown * missed).sum()) / precision)
            excess = (missed - extra * shown) ** 2 - noise
            rest = max(0.0, float(excess.sum() / max(moved.sum(), 1e-9)))
        return cls(extra, float(precision**-0.5), rest)

    def loss(self, past: np.ndarray, new: np.ndarray, moved: float) -> tuple[float, float]:
        """The loss beyond the one that chances show, and its variance; nothing of one by chance."""
        shown = float(past.mean() - new.mean())
        noise = float(np.sqrt(past.var() / len(past) + new.var() / len(new)))
        clear = max(0.0, abs(shown) - noise)
        return self.extra * clear * (shown > 0), (self.error * clear) ** 2 + self.rest * moved
