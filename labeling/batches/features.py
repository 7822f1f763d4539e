"""The features of samples, by their ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Features:
    """Row i of `rows` belongs to sample i of `sample_ids`; all are of one backbone."""

    sample_ids: pd.Index
    rows: np.ndarray

    def __post_init__(self) -> None:
        """Refuse rows that are not those of the samples."""
        if len(self.sample_ids) != len(self.rows):
            raise ValueError(
                f"there are features of {len(self.rows)} images for {len(self.sample_ids)} "
                "samples; give a row for each"
            )

    def has(self, sample_ids: Sequence[str]) -> bool:
        """Whether all of these samples have features."""
        return bool((self.numbers(sample_ids) >= 0).all())

    def of(self, sample_ids: Sequence[str]) -> np.ndarray:
        """The features of these samples, in their order."""
        return self.rows[self.numbers(sample_ids)]

    def numbers(self, sample_ids: Sequence[str]) -> np.ndarray:
        """The row of each sample, -1 where it has no features."""
        return self.sample_ids.get_indexer(pd.Index(list(sample_ids), dtype=object))
