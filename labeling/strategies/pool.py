"""What a strategy is given, and what it gives back."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pool:
    """The samples one may ask about: row i of every array belongs to sample i.

    `labelled` are the embeddings of what has a label or is being asked about already, and `labels`
    the number of each one's class, -1 while it is not known. A strategy never gives a row that is
    not `allowed`, and changes none of the arrays.
    """

    probs: np.ndarray | None = None  # [n, classes]; rows sum to one
    embeddings: np.ndarray | None = None  # [n, width] float32
    ensemble: np.ndarray | None = None  # [members, n, classes]: several heads, or dropout left on
    labelled: np.ndarray | None = None  # [m, width] float32
    labels: np.ndarray | None = None  # [m] int
    allowed: np.ndarray | None = None  # [n] bool; None is all of them

    def __len__(self) -> int:
        member = self.ensemble[0] if self.ensemble is not None else None
        arrays = (self.probs, self.embeddings, self.allowed, member)
        return next((len(array) for array in arrays if array is not None), 0)

    @property
    def free(self) -> np.ndarray:
        """The rows that may be chosen, in ascending order."""
        return np.arange(len(self)) if self.allowed is None else np.flatnonzero(self.allowed)


@dataclass(frozen=True)
class Choice:
    """Rows of the pool in the order to ask, and for each a score: higher was wanted more."""

    rows: np.ndarray  # int64, none twice
    scores: np.ndarray  # float64
    by: tuple[str, ...] = ()  # where strategies share the batch: which one wanted each row
    why: str = ""  # where a strategy decides among others: what it decided, in words
