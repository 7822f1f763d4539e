"""Truths in files: each bad row is refused by its place, in bounded memory, whatever is in it."""

import tempfile
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.serving.feedback_records import Feedback
from models.watching.feedback_file import (
    LINE_BYTES,
    RefusedTruth,
    SampleTruth,
    Truth,
    read_feedback,
    truth_about,
)

ID = "7" * 32
HEADER = "prediction_id,truth,who,strength,at\n"
GOOD = f"{ID},cat,ada,confirmed,2026-01-01T12:00:00Z\n"


def read(folder: Path, content: bytes | str, name: str = "truths.csv") -> list[Truth]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [row for part in read_feedback(path) for row in part]


def refusals(rows: list[Truth]) -> list[tuple[str, str]]:
    return [(row.where, row.reason) for row in rows if isinstance(row, RefusedTruth)]


def test_a_table_is_read_whatever_parts_its_columns(tmp_path):
    for delimiter in ",;\t":
        [one] = read(tmp_path, "\ufeff" + (HEADER + GOOD).replace(",", delimiter))
        assert isinstance(one, Feedback)
        assert (one.truth, one.who, one.source) == ("cat", "ada", "file:truths.csv")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{ID},cat\n", "MALFORMED"),
        (f'{ID},"cat,ada,confirmed,\n', "MALFORMED"),
        (f"{ID},{'x' * LINE_BYTES},ada,weak,\n", "MALFORMED"),
        (f"{ID},,ada,weak,\n", "NO_TRUTH"),
        ("8,cat,ada,weak,\n", "BAD_PREDICTION_ID"),
        (f"{ID},cat,,confirmed,\n", "NOBODY"),
        (f"{ID},cat,ada,sure,\n", "BAD_STRENGTH"),
        (f"{ID},cat,ada,weak,soon\n", "BAD_TIME"),
        (f"{ID},cat,ada,weak,2999-01-01\n", "BAD_TIME"),
        (b"%s,\xff,ada,weak,\n" % ID.encode(), "NOT_UTF8"),
    ],
)
def test_a_bad_row_is_refused_by_its_place_and_no_other(tmp_path, line, reason):
    middle = line.encode() if isinstance(line, str) else line
    rows = read(tmp_path, HEADER.encode() + GOOD.encode() + middle + b"\n" + GOOD.encode())
    assert refusals(rows) == [("line 3", reason)]
    assert sum(isinstance(row, Feedback) for row in rows) == 2


def test_an_image_stands_for_what_was_answered_to_it(tmp_path):
    [one, bad] = read(tmp_path, "sample_id,truth,who\nabc,cat,ada\nabc,,ada\n")
    assert isinstance(one, SampleTruth) and isinstance(bad, RefusedTruth)
    made = truth_about(one, ID, source="other")
    assert (made.prediction_id, made.truth, made.source) == (ID, "cat", "file:truths.csv")


def test_a_parquet_file_has_times_and_numbers(tmp_path):
    table = pa.table({
        "prediction_id": [ID, ID, "x"], "truth": [3, 4, None],
        "at": [datetime(2026, 1, 1, 12, tzinfo=UTC), None, None],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "truths.parquet")
    rows = [row for part in read_feedback(tmp_path / "truths.parquet") for row in part]
    assert [row.truth for row in rows if isinstance(row, Feedback)] == ["3", "4"]
    assert rows[0].at == "2026-01-01T12:00:00.000000+00:00"  # type: ignore[union-attr]
    assert refusals(rows) == [("row 3", "BAD_PREDICTION_ID")]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("at", pa.array([0, 9 * 10**18, 0], pa.timestamp("us"))),
        ("at", pa.array([0, 2**31 - 1, 0], pa.date32())),
        ("who", pa.Array.from_buffers(
            pa.string(), 3,
            [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])),
             pa.py_buffer(b"a\xffb")],
        )),
    ],
)  # fmt: skip
def test_a_value_that_python_has_no_form_of_spoils_its_row_alone(tmp_path, column, values):
    table = pa.table({"prediction_id": [ID] * 3, "truth": ["cat"] * 3, column: values})
    pq.write_table(table, tmp_path / "truths.parquet")
    [rows] = read_feedback(tmp_path / "truths.parquet")
    assert refusals(rows) == [("row 2", "MALFORMED")]


def test_the_row_numbers_that_pandas_adds_are_no_column(tmp_path):
    table = pa.table({"prediction_id": [ID], "truth": ["cat"], "__index_level_0__": [7]})
    pq.write_table(table, tmp_path / "truths.parquet")
    [rows] = read_feedback(tmp_path / "truths.parquet")
    assert len(rows) == 1 and not refusals(rows)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", b"", "its first line is"),
        ("a.csv", b"image,label\nx,y\n", "a header with truth"),
        ("a.csv", b"prediction_id,truth,truth\n", "stands twice: 'truth'"),
        ("a.csv", b"prediction_id,truth,trueth\n", "is not known: 'trueth'"),
        ("a.parquet", b"PAR1", "cannot be read as parquet"),
        ("a.parquet", b"", "cannot be read as parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_with_its_name(tmp_path, name, content, what):
    with pytest.raises(ValueError, match=name) as error:
        read(tmp_path, content, name)
    assert what in str(error.value)
    with pytest.raises(ValueError, match="is no file"):
        list(read_feedback(tmp_path))


@given(st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_bytes_between_two_rows_refuse_themselves_only(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        middle = b"".join(line + b"\n" for line in lines)
        rows = read(Path(folder), HEADER.encode() + GOOD.encode() + middle + GOOD.encode())
    assert isinstance(rows[0], Feedback) and isinstance(rows[-1], Feedback)
    assert all(row.where and row.detail.encode() for row in rows if isinstance(row, RefusedTruth))


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    """Twelve parts take what two take."""
    monkeypatch.setattr("models.watching.feedback_file.PART", 100)
    peaks: list[Any] = []
    for rows in (200, 2_400):
        path = tmp_path / f"{rows}.csv"
        path.write_text(HEADER + GOOD * rows)
        tracemalloc.start()
        assert sum(len(part) for part in read_feedback(path)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
