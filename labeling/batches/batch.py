"""A batch: the samples of a round in the order to ask, each with why and how it is asked.

It has the same columns from the strategy's choice to the ledger; what is not decided yet has its
usual value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.table_schema import Schema, Type

BATCH = Schema(
    "batch",
    {
        "sample_id": Type.TEXT,
        "position": Type.INTEGER,  # in the order to ask
        "reason": Type.TEXT,  # the strategy, or a ledger.reasons.Reason
        "score": Type.OPTIONAL_NUMBER,  # the strategy's; higher is sooner
        "inclusion_probability": Type.OPTIONAL_NUMBER,  # of audit samples: the share drawn
        "draw_probability": Type.OPTIONAL_NUMBER,  # of this sample at its draw
        "draws_from": Type.OPTIONAL_NUMBER,  # samples that were left at its draw
        "pre_annotation": Type.OPTIONAL_TEXT,
        "confidence": Type.OPTIONAL_NUMBER,
        "pre_annotation_model": Type.OPTIONAL_TEXT,
        "probs": Type.OPTIONAL_OBJECT,  # class -> probability
        "most_similar": Type.OPTIONAL_TEXT,  # a labelled sample
        "blind": Type.BOOLEAN,  # shown without its pre-annotation
        "required_annotators": Type.INTEGER,
    },
    key=("sample_id",),
)
PRE_ANNOTATIONS = Schema(
    "pre-annotations",
    {
        "sample_id": Type.TEXT,
        "pre_annotation": Type.TEXT,
        "confidence": Type.NUMBER,
        "pre_annotation_model": Type.TEXT,
        "probs": Type.OBJECT,
    },
    key=("sample_id",),
)
USUAL: Mapping[str, Any] = {
    name: None for name, kind in BATCH.columns.items() if kind.is_optional
} | {"blind": False, "required_annotators": 1}


@dataclass(frozen=True)
class Batch:
    """Samples to ask about, one row each as BATCH declares, in the order to ask."""

    rows: pd.DataFrame

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", BATCH.check(self.rows.reset_index(drop=True)))

    @classmethod
    def of(cls, sample_ids: Sequence[str], **columns: Any) -> "Batch":
        """A batch of these samples in this order; a column that is not given has its usual value.

        Columns are values in the order of the samples, or one value for all of them.
        """
        rows = pd.DataFrame({"sample_id": pd.Series(list(sample_ids), dtype=object)})
        usual = {"position": np.arange(len(rows)), **USUAL}
        return cls(rows.assign(**(usual | columns)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sample_ids(self) -> list[str]:
        """The samples in the order to ask."""
        return [str(sample_id) for sample_id in self.rows["sample_id"]]

    def with_columns(self, **columns: Any) -> "Batch":
        """The batch with other values in these columns."""
        return Batch(self.rows.assign(**columns))

    def with_pre_annotations(self, pre_annotations: pd.DataFrame) -> "Batch":
        """The batch with these PRE_ANNOTATIONS and no others."""
        names = [name for name in PRE_ANNOTATIONS.columns if name != "sample_id"]
        plain = self.rows.drop(columns=names)
        checked = PRE_ANNOTATIONS.check(pre_annotations)
        return Batch(plain.merge(checked, on="sample_id", how="left"))

    def followed_by(self, other: "Batch") -> "Batch":
        """Both batches as one, the other's samples at the end."""
        rows = pd.concat([self.rows, other.rows], ignore_index=True)
        return Batch(rows.assign(position=np.arange(len(rows))))
