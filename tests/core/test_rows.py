"""Rows between tables and queries."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from core.rows import chunks, records


@given(st.lists(st.integers()), st.integers(1, 5))
def test_chunks_are_the_keys_in_their_order(keys, size):
    parts = list(chunks(keys, size))
    assert [key for part in parts for key in part] == keys
    assert all(0 < len(part) <= size for part in parts)


def test_whatever_is_missing_is_none():
    table = pd.DataFrame({"a": [1.0, None], "b": ["x", None]})
    assert records(table) == [{"a": 1.0, "b": "x"}, {"a": None, "b": None}]
