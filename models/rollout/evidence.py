"""How strongly what was measured speaks against a challenger, however often one looks.

An observation is the challenger's figure less the champion's, between -1 and 1: 1 where it is as
much worse as can be. The claim to be refuted is that it is expected to be `tolerance` at most,
whatever was observed before. A gambler who does not believe that stakes a part of the capital on
each observation at odds that are fair, or worse, if the claim holds: the chance that the capital
ever grows a hundredfold is then 1 in 100 at most (Ville's inequality). The evidence is that
capital, spread evenly over all stakes between nothing and everything.

What one source sends within `BLOCK_SECONDS` is one observation, however many images it is: frames
of a scene and retries say one thing. Independence is not needed beyond that; what is correlated
for longer than a block counts as more than it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

STAKES = (np.arange(64) + 0.5) / 64  # any fixed grid is valid
BLOCK_SECONDS = 10


@dataclass(frozen=True)
class Evidence:
    """The evidence of one criterion: observations, their sum, the log capital of each stake."""

    observations: int = 0
    total: float = 0.0
    capital: tuple[float, ...] = (0.0,) * len(STAKES)

    @property
    def log_evidence(self) -> float:
        """The natural logarithm of the evidence."""
        logs = np.array(self.capital)
        most = logs.max()
        return float(most + np.log(np.exp(logs - most).mean()))

    @property
    def mean(self) -> float | None:
        """The mean observation; None before the first."""
        return self.total / self.observations if self.observations else None

    def after(self, observed: Iterable[float], *, tolerance: float) -> "Evidence":
        """The evidence after further observations."""
        values = np.array([*observed], float)
        if not len(values):
            return self
        if not (np.abs(values) <= 1).all():
            raise ValueError(f"observations lie between -1 and 1; {values} do not")
        gains = np.log1p(np.outer(STAKES, values - tolerance) / (1 + tolerance)).sum(axis=1)
        return Evidence(
            self.observations + len(values),
            self.total + float(values.sum()),
            tuple(np.round(np.array(self.capital) + gains, 9).tolist()),
        )

    def as_json(self) -> dict[str, Any]:
        """The evidence as JSON."""
        return {
            "observations": self.observations,
            "total": self.total,
            "capital": [*self.capital],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Evidence":
        """The evidence that `as_json` made."""
        return cls(stored["observations"], stored["total"], tuple(stored["capital"]))


def block_of(seconds: np.ndarray) -> np.ndarray:
    """The number of the block that each time, in seconds since 1970, is in."""
    return np.floor(seconds / BLOCK_SECONDS).astype(np.int64)


def block_means(values: np.ndarray, blocks: np.ndarray, sources: np.ndarray) -> list[float]:
    """The mean of each source in each block, in the order of the blocks."""
    if not len(values):
        return []
    names = np.unique(sources, return_inverse=True)[1]
    keys = np.unique(np.column_stack([blocks, names]), axis=0, return_inverse=True)[1].ravel()
    means = np.bincount(keys, weights=values) / np.bincount(keys)
    return [float(mean) for mean in np.clip(means, -1, 1)]
