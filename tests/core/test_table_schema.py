"""Declared tables: what is missing, strange or doubled is named where the table is made."""

import numpy as np
import pandas as pd
import pytest

from core.table_schema import Schema, Type

LABELS = Schema(
    "labels",
    {
        "sample_id": Type.TEXT,
        "round_id": Type.OPTIONAL_TEXT,
        "answers": Type.INTEGER,
        "trust": Type.NUMBER,
        "inclusion_probability": Type.OPTIONAL_NUMBER,
        "is_gold": Type.BOOLEAN,
        "annotators": Type.OBJECT,
    },
    key=("sample_id",),
)


def labels(**changes: object) -> pd.DataFrame:
    columns: dict[str, object] = {
        "annotators": [["ann"], []],
        "sample_id": ["a", "b"],
        "round_id": ["round-0001", None],
        "answers": [1, 2],
        "trust": [0.9, 1.0],
        "inclusion_probability": [None, None],
        "is_gold": [False, True],
    }
    return pd.DataFrame(columns | changes)


def test_a_table_as_declared_comes_back_in_the_declared_order_and_types():
    checked = LABELS.check(labels())
    assert list(checked) == list(LABELS.columns)
    numbers = checked[["answers", "trust", "inclusion_probability", "is_gold"]]
    assert [str(dtype) for dtype in numbers.dtypes] == ["int64", "float64", "float64", "bool"]
    assert checked["inclusion_probability"].isna().all()
    assert checked["annotators"].tolist() == [["ann"], []]


def test_numbers_that_came_as_objects_get_the_declared_type():
    checked = LABELS.check(labels().astype(object))
    assert checked["trust"].dtype == np.float64 and checked["answers"].dtype == np.int64


def test_the_index_stays():
    assert list(LABELS.check(labels().set_axis([7, 3])).index) == [7, 3]


def test_an_empty_table_has_the_declared_columns_and_types():
    empty = LABELS.empty()
    assert len(empty) == 0 and list(empty) == list(LABELS.columns)
    assert empty["trust"].dtype == np.float64 and empty["is_gold"].dtype == bool


@pytest.mark.parametrize(
    ("name", "values", "contents"),
    [
        ("sample_id", [1, 2], "'sample_id' of the table 'labels' has int64; text expected"),
        ("round_id", ["round-0001", 2], "'round_id' .* has object .*; text or missing expected"),
        ("answers", [1.0, 2.5], "'answers' .* has float64; whole numbers expected"),
        ("trust", ["high", "low"], "'trust' .* has str; numbers expected"),
        ("trust", [0.9, None], "'trust' .* has 1 missing values of 2; numbers expected"),
        ("is_gold", [0, 1], "'is_gold' .* has int64; true or false expected"),
        ("annotators", [1, 2], "'annotators' .* has int64; objects expected"),
    ],
)
def test_a_column_of_another_type_is_named_with_what_it_has_and_what_is_expected(
    name, values, contents
):
    with pytest.raises(ValueError, match=contents):
        LABELS.check(labels(**{name: values}))


def test_missing_and_undeclared_columns_are_named():
    with pytest.raises(ValueError, match="'labels' lacks trust and has extra, not declared"):
        LABELS.check(labels(extra=1).drop(columns="trust"))


def test_two_rows_with_one_key_are_named():
    with pytest.raises(ValueError, match=r"two rows with the key {'sample_id': 'a'}"):
        LABELS.check(labels(sample_id=["a", "a"]))
