"""What readers have in common: times, durations, names, whole files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.formats.rows import (
    cell_of,
    load_json,
    plain_name,
    seconds,
    source_of,
    value_of,
)


@pytest.mark.parametrize(
    ("text", "value"), [("1.5", 1.5), (2, 2.0), ("-1", None), ("nan", None), ("soon", None)]
)
def test_a_duration_is_a_number_of_seconds_or_missing(text, value):
    assert seconds(text) == value


def test_a_name_is_the_same_however_its_accents_are_composed():
    assert plain_name(" c\u0308at ") == plain_name("c\u0308at")


def test_the_source_is_the_name_of_the_file(tmp_path: Path):
    assert source_of(tmp_path / "labels.csv") == "import:labels.csv"


def test_json_that_was_cut_short_is_an_error_that_says_so(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"images": [')
    with pytest.raises(ValueError, match="was it cut short"):
        load_json(tmp_path / "a.json")


@given(st.text())
def test_a_cell_is_no_formula_and_is_read_as_it_was(text):
    cell = cell_of(text)
    assert value_of(cell) == text
    assert cell[:1] not in {*"=+-@\t\r"}
    assert cell == text or cell == f"'{text}"


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1+2", "@SUM(A1)", "\tx", "'=1", "''-1"])
def test_what_a_spreadsheet_would_run_is_quoted(name):
    assert cell_of(name) == f"'{name}" and value_of(f"'{name}") == name


@pytest.mark.parametrize("value", ["cat", "it's", "'cat'", "a=b", -1.5, None])
def test_other_cells_stay(value):
    assert cell_of(value) is value
    assert value is None or isinstance(value, float) or value_of(value) == value
