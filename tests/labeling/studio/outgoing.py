"""Tables of tasks for Label Studio, for tests and benchmarks of the exchange."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from labeling.studio.protocol import OUTGOING

USUAL = {"round_id": "round-0001", "similar": None, "stage": "queue", "why": "a test",
         "blind": False, "required_annotators": 1}  # fmt: skip


def outgoing(rows: Sequence[Mapping[str, Any]], **columns: Any) -> pd.DataFrame:
    """These tasks as OUTGOING declares; a column that is not given has its usual value."""
    table = pd.DataFrame([{**USUAL, **row} for row in rows]).assign(**columns)
    return OUTGOING.check(table)
