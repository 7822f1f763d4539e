"""The samples that a batch is chosen from, and what of each the choice may depend on."""

import pandas as pd

from core.table_schema import Schema, Type

CANDIDATES = Schema(
    "candidates",
    {
        "sample_id": Type.TEXT,
        "group_id": Type.TEXT,  # near-duplicates share it
        "origin": Type.TEXT,
        "source": Type.OPTIONAL_TEXT,  # the folder a sample came from, "served" for traffic
        "added_at": Type.TEXT,
    },
    key=("sample_id",),
)


def candidates_of(pool: pd.DataFrame) -> pd.DataFrame:
    """The pool as CANDIDATES declares it."""
    return CANDIDATES.check(pool[list(CANDIDATES.columns)])
