"""The samples that a batch is chosen from, and what of each the choice may depend on."""

from collections.abc import Collection

import numpy as np
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
        "has_duplicate_in_train": Type.BOOLEAN,  # such a sample is never audited
        "never_pseudo_labelled": Type.BOOLEAN,  # the audit is drawn from these first
    },
)


def candidates_of(
    pool: pd.DataFrame,
    *,
    groups_in_train: Collection[str] = (),
    never_pseudo_labelled: np.ndarray | bool = True,
) -> pd.DataFrame:
    """The pool as CANDIDATES declares it; `groups_in_train` are the groups of labelled samples.

    Without pseudo-labels no sample was ever pseudo-labelled.
    """
    marks = {
        "has_duplicate_in_train": pool["group_id"].isin(list(groups_in_train)),
        "never_pseudo_labelled": never_pseudo_labelled,
    }
    return CANDIDATES.check(pool.assign(**marks)[list(CANDIDATES.columns)])
