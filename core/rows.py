"""Rows on their way between tables and queries."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

KEYS_AT_ONCE = 500  # in one IN list: every database takes that many


def chunks(keys: Sequence[Any], size: int = KEYS_AT_ONCE) -> Iterator[Sequence[Any]]:
    """The keys in parts of at most `size`, in their order."""
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a table as dicts, with None for whatever is missing."""
    whole = table.astype(object)
    rows = whole.where(whole.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
